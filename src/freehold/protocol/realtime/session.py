"""A session as a machine: what a client says, what is heard and what becomes of a response go in; effects come out.

It keeps the conversation, the turn that is being spoken and the response that is being made. Sources: OpenAI's specification
2.3.0 (RealtimeClientEvent, RealtimeServerEvent) and the order of events in its guide to realtime conversations.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from freehold.errors import FreeholdError, InvalidRequest
from freehold.protocol.realtime import events
from freehold.protocol.realtime.answer import Answer
from freehold.protocol.realtime.config import Settings
from freehold.protocol.realtime.effects import Begin, Effect, EndTurn, Forget, Hear, Listen, Progress, Send, Stop, Transcribe
from freehold.protocol.realtime.effects import Finished as ResponseFinished
from freehold.protocol.realtime.items import Content, Conversation, Item, made
from freehold.protocol.realtime.wanted import Wanted

_LEAST_MS = 100  # of audio in a turn, as with OpenAI
_MOST_MS = 15 * 60_000  # of audio that is not committed
_MOST_RECORDINGS = 4  # within items, being recognised


class Session:
    """`check` raises InvalidRequest for settings that the models here cannot serve; `identify` makes ids of a kind.

    Every method gives the effects in the order in which they are to be had.
    """

    def __init__(
        self,
        settings: Settings,
        model: str,
        expires_at: int,
        identify: Callable[[str], str],
        check: Callable[[Settings], None] = lambda settings: None,
    ):
        self.settings = settings
        self.conversation = Conversation()
        self.response: Answer | None = None
        self._model = model
        self._expires_at = expires_at
        self._identify = identify
        self._check = check
        self._id = identify("sess")
        self._conversation_id = identify("conv")
        self._buffered = 0  # bytes of audio since the last turn
        self._speaking = False
        self._turn: str | None = None  # the id that the item of the turn being spoken will have
        self._unheard: collections.deque[str] = collections.deque()  # items whose audio is being recognised, in order
        self._recordings: set[tuple[str, int]] = set()  # (item, place) of audio within items that is being recognised
        self._told: set[str] = set()  # those of which something was told while it was spoken
        self._owed = False  # something was said that nobody has answered yet

    @property
    def busy(self) -> bool:
        return self.response is not None

    @property
    def recognising(self) -> bool:
        """Whether something heard is not recognised yet."""
        return bool(self._unheard) or self._speaking or (self.settings.turns is None and self._buffered > 0)

    def opened(self) -> Iterator[Effect]:
        yield self._send("session.created", session=self._shown())
        yield self._listen()

    def error(self, error: FreeholdError, event_id: str | None = None) -> Send:
        """The event that tells of an error; `event_id` is that of the client's event which caused it."""
        told = {"type": error.type, "code": error.code, "message": error.message, "param": error.param, "event_id": event_id}
        return self._send("error", error=told)

    # What the client says.

    def received(self, event: events.Event | events.Append) -> list[Effect]:
        """Raises InvalidRequest for what cannot be done; nothing has changed then."""
        match event:
            case events.Append():
                effects = self._append(event.audio)
            case events.SessionUpdate():
                effects = self._update(event.session)
            case events.Commit():
                effects = self._commit()
            case events.Clear():
                effects = self._clear()
            case events.ItemCreate():
                effects = self._create_item(event)
            case events.ItemDelete():
                effects = self._delete(event.item_id)
            case events.ItemRetrieve():
                effects = [self._send("conversation.item.retrieved", item=self.conversation.find(event.item_id).shown())]
            case events.ItemTruncate():
                effects = self._truncate(event)
            case events.ResponseCreate():
                effects = list(self._respond(event.response))
            case events.ResponseCancel():
                effects = self._cancel(event.response_id)
            case other:
                raise AssertionError(other)
        return effects

    def _append(self, audio: bytes) -> list[Effect]:
        per_ms = self.settings.audio.input.format.per_ms
        if self.settings.turns is None and self._buffered + len(audio) > _MOST_MS * per_ms:
            raise InvalidRequest(
                f"The input buffer has {_MOST_MS // 60_000} minutes of audio, the limit; commit or clear it.",
                param="audio",
                code="input_audio_buffer_full",
            )
        self._buffered += len(audio)
        return [Hear(audio)]

    def _update(self, update: Settings) -> list[Effect]:
        changed = self.settings.updated(update)
        self._check(changed)
        if self._unheard and self._listen().model != self._listen(changed).model:
            raise InvalidRequest(
                "Something is being recognised; change the model for it afterwards.",
                param="session.audio.input.transcription.model",
                code="invalid_value",
            )
        before, self.settings = self._listen(), changed
        effects: list[Effect] = [self._send("session.updated", session=self._shown())]
        if self._listen() != before:
            self._silence()
            effects.append(self._listen())
        return effects

    def _commit(self) -> list[Effect]:
        if self._buffered < _LEAST_MS * self.settings.audio.input.format.per_ms:
            has = self._buffered / self.settings.audio.input.format.per_ms
            raise InvalidRequest(
                f"The input buffer has {has:.0f} ms of audio; a turn has at least {_LEAST_MS} ms.",
                code="input_audio_buffer_commit_empty",
            )
        return [EndTurn(), *self._committed()]

    def _clear(self) -> list[Effect]:
        self._silence()
        return [Forget(), self._send("input_audio_buffer.cleared")]

    def _create_item(self, event: events.ItemCreate) -> list[Effect]:
        item = made(event.item, self._identify("item"), self._identify("call"))
        calls = {other.call_id for other in self.conversation if other.type == "function_call"}
        if item.type == "function_call_output" and item.call_id not in calls:
            raise InvalidRequest(
                f"There is no function call with call_id '{item.call_id}' in the conversation.",
                param="item.call_id",
                code="invalid_value",
            )
        recordings = [place for place, part in enumerate(item.content) if part.audio]
        if len(recordings) + len(self._recordings) > _MOST_RECORDINGS:
            raise InvalidRequest(
                f"More than {_MOST_RECORDINGS} recordings wait to be recognised; wait for them.",
                param="item",
                code="rate_limited",
            )
        self.conversation.check_room(item)
        self.conversation.insert(item, event.previous_item_id)
        listen = self._listen()
        effects: list[Effect] = [*self._added(item)]
        for place in recordings:
            audio, item.content[place].audio = item.content[place].audio, b""
            self._recordings.add((item.id, place))
            effects.append(Transcribe(item.id, place, audio, listen.settings, listen.model))
        self.conversation.weigh(item)
        return [*effects, *self._crowded()]

    def _delete(self, item_id: str) -> list[Effect]:
        self._check_at_rest(item_id)
        self.conversation.delete(item_id)
        return [self._send("conversation.item.deleted", item_id=item_id)]

    def _truncate(self, event: events.ItemTruncate) -> list[Effect]:
        item = self.conversation.find(event.item_id)
        if item.spoken is None:
            raise InvalidRequest("Only items that the model spoke can be truncated.", param="item_id", code="invalid_value")
        if event.content_index != 0:
            raise InvalidRequest("The audio is the content with index 0.", param="content_index", code="invalid_value")
        self._check_at_rest(event.item_id)
        if event.audio_end_ms > item.spoken.milliseconds:
            raise InvalidRequest(
                f"The item has {item.spoken.milliseconds} ms of audio, less than {event.audio_end_ms}.",
                param="audio_end_ms",
                code="invalid_value",
            )
        item.content[0].text = item.spoken.until(event.audio_end_ms)
        where = {"item_id": event.item_id, "content_index": 0, "audio_end_ms": event.audio_end_ms}
        return [self._send("conversation.item.truncated", **where)]

    def _check_at_rest(self, item_id: str) -> None:
        self.conversation.find(item_id)
        if self.response is not None and self.response.has(item_id):
            raise InvalidRequest(
                "The item is still being made; cancel its response first.", param="item_id", code="item_in_progress"
            )

    def _cancel(self, response_id: str | None) -> list[Effect]:
        if self.response is None or response_id not in (None, self.response.id):
            raise InvalidRequest("There is no such response to cancel.", param="response_id", code="response_cancel_not_active")
        return [*self._interrupted("client_cancelled"), *self._answer_what_is_owed()]

    # What is heard.

    def heard(self, told: Mapping[str, Any]) -> list[Effect]:
        """What the recogniser tells (freehold.workers.transcription.live)."""
        match told.get("type"):
            case "speech_started" if self.settings.turns is not None:
                return list(self._started(int(told["audio_start_ms"])))
            case "speech_stopped" if self._speaking:
                return list(self._stopped(int(told["audio_end_ms"])))
            case "delta":
                return self._partly(str(told["text"]))
            case "completed" if self._unheard:
                return list(self._completed(str(told["text"]), float(told["seconds"])))
        return []

    def deaf(self, error: FreeholdError) -> list[Effect]:
        """Nothing is heard any more: what was being recognised never will be."""
        effects: list[Effect] = [self.error(error)]
        if self.settings.transcribes:
            effects += [self._untold(item_id, 0, error) for item_id in self._unheard]
        self._unheard.clear()
        self._silence()
        if self.response is not None and self.response.waiting:
            effects += self._ended(self.response.failed(error))
        return effects

    def _started(self, start: int) -> Iterator[Effect]:
        self._speaking = True
        self._turn = self._turn or self._identify("item")
        yield self._send("input_audio_buffer.speech_started", audio_start_ms=start, item_id=self._turn)
        turns = self.settings.turns
        if turns is not None and turns.interrupt_response and self.response is not None and self.response.conversation:
            self._owed = self._owed or (self.response.automatic and not self.response.items)
            yield from self._interrupted("turn_detected")

    def _stopped(self, end: int) -> Iterator[Effect]:
        self._speaking = False
        self._turn = self._turn or self._identify("item")
        yield self._send("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=self._turn)
        yield from self._committed()

    def _committed(self) -> Iterator[Effect]:
        """What was spoken becomes an item, whose words come later."""
        item = Item(self._turn or self._identify("item"), "message", role="user", content=[Content("input_audio")])
        before = self.conversation.last
        self.conversation.insert(item)
        self._silence()
        self._unheard.append(item.id)
        yield self._send("input_audio_buffer.committed", item_id=item.id, previous_item_id=before)
        yield from self._added(item)
        yield from self._crowded()

    def _partly(self, text: str) -> list[Effect]:
        if not self.settings.transcribes:
            return []
        if self._unheard:
            item_id = self._unheard[0]
        else:
            item_id = self._turn = self._turn or self._identify("item")
        self._told.add(item_id)
        return [self._transcribed("delta", item_id, 0, delta=text)]

    def _completed(self, text: str, seconds: float) -> Iterator[Effect]:
        item_id = self._unheard.popleft()
        yield from self._understood(item_id, 0, text, seconds)
        turns = self.settings.turns
        if text.strip() and turns is not None and turns.create_response and self.settings.type == "realtime":
            self._owed = True
        yield from self._answer_what_waited()

    def recognised(self, item_id: str, place: int, text: str, seconds: float) -> list[Effect]:
        """What was said in a recording within an item."""
        self._recordings.discard((item_id, place))
        return [*self._understood(item_id, place, text, seconds), *self._answer_what_waited()]

    def unrecognised(self, item_id: str, place: int, error: FreeholdError) -> list[Effect]:
        """A recording within an item cannot be recognised; a response that waited for it cannot be made."""
        self._recordings.discard((item_id, place))
        effects: list[Effect] = [self._untold(item_id, place, error) if self.settings.transcribes else self.error(error)]
        if self.response is not None and self.response.waiting:
            effects += self._ended(self.response.failed(error))
        return [*effects, *self._answer_what_is_owed()]

    def _understood(self, item_id: str, place: int, text: str, seconds: float) -> Iterator[Effect]:
        if self.conversation.has(item_id):
            item = self.conversation.find(item_id)
            item.content[place].text = text
            self.conversation.weigh(item)
        if self.settings.transcribes:
            if text and item_id not in self._told:
                yield self._transcribed("delta", item_id, place, delta=text)
            usage = {"type": "duration", "seconds": round(seconds, 3)}
            yield self._transcribed("completed", item_id, place, transcript=text, usage=usage)
        self._told.discard(item_id)

    def _answer_what_waited(self) -> Iterator[Effect]:
        if self.response is not None and self.response.waiting and not self._unheard and not self._recordings:
            self.response.waiting = False
            yield Begin(self._wanted.order(self.response, self.conversation))
        yield from self._answer_what_is_owed()

    def _transcribed(self, kind: str, item_id: str, place: int, **rest: Any) -> Send:
        kind = f"conversation.item.input_audio_transcription.{kind}"
        return self._send(kind, item_id=item_id, content_index=place, **rest)

    def _untold(self, item_id: str, place: int, error: FreeholdError) -> Send:
        told = {"type": error.type, "code": error.code, "message": error.message}
        return self._transcribed("failed", item_id, place, error=told)

    # What becomes of a response.

    def progress(self, response_id: str, told: Progress) -> list[Effect]:
        """What the making of a response tells; of one that is over, nothing is heard any more."""
        if self.response is None or self.response.id != response_id:
            return []
        told_of = self.response.progress(told)
        if not isinstance(told, ResponseFinished):
            return [self._sent(event) for event in told_of]
        return [*self._ended(told_of), *self._crowded(), *self._answer_what_is_owed()]

    def failed(self, response_id: str, error: FreeholdError) -> list[Effect]:
        if self.response is None or self.response.id != response_id:
            return []
        return [*self._ended(self.response.failed(error)), *self._answer_what_is_owed()]

    def _respond(self, given: events.ResponseSettings, *, automatic: bool = False) -> Iterator[Effect]:
        if self.settings.type == "transcription":
            raise InvalidRequest("A transcription session makes no responses.", param="type", code="invalid_event")
        if self.response is not None:
            raise InvalidRequest(
                f"The response {self.response.id} is still being made; wait for its response.done, or cancel it.",
                code="conversation_already_has_active_response",
            )
        wanted = Wanted.of(given, self.settings, self.conversation, self._identify)
        self._check(wanted.settings)
        answer = wanted.answer(self.conversation, self._conversation_id, self._identify, automatic)
        answer.waiting = bool(self._unheard or self._recordings)
        self.response, self._wanted = answer, wanted
        self._owed = self._owed and answer.conversation is None
        yield self._sent(answer.created())
        if not answer.waiting:
            yield Begin(wanted.order(answer, self.conversation))

    def _answer_what_is_owed(self) -> Iterator[Effect]:
        if self._owed and self.response is None and not self._speaking and not self._unheard and not self._recordings:
            self._owed = False
            try:
                yield from self._respond(events.ResponseSettings(), automatic=True)
            except FreeholdError as error:  # the models have changed since the settings were taken
                yield self.error(error)

    def _interrupted(self, reason: str) -> list[Effect]:
        assert self.response is not None  # noqa: S101 - the callers know
        return [Stop(), *self._ended(self.response.cancelled(reason))]

    def _ended(self, told: Iterable[Mapping[str, Any]]) -> list[Effect]:
        effects: list[Effect] = [self._sent(event) for event in told]
        self.response = None
        return effects

    # The inside.

    def _listen(self, settings: Settings | None = None) -> Listen:
        settings = settings or self.settings
        transcription = settings.audio.input.transcription
        return Listen(settings.hears, transcription.model if transcription else None)

    def _silence(self) -> None:
        """Nothing has been said since the last turn."""
        self._buffered, self._speaking, self._turn = 0, False, None

    def _added(self, item: Item) -> list[Effect]:
        before = self.conversation.before(item.id)
        return [
            self._send(f"conversation.item.{kind}", previous_item_id=before, item=item.shown()) for kind in ("added", "done")
        ]

    def _crowded(self) -> Iterator[Effect]:
        """The oldest items make room, and the client is told."""
        while (oldest := self.conversation.surplus) is not None:
            self.conversation.delete(oldest)
            yield self._send("conversation.item.deleted", item_id=oldest)

    def _shown(self) -> dict[str, Any]:
        return self.settings.shown(self._id, self._model, self._expires_at)

    def _send(self, kind: str, **fields: Any) -> Send:
        return self._sent({"type": kind, **fields})

    def _sent(self, event: Mapping[str, Any]) -> Send:
        return Send({"event_id": self._identify("event"), **event})
