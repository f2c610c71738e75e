"""One response while it is made: its items, and the events that tell of them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from freehold.errors import FreeholdError
from freehold.protocol.realtime.effects import Call, Finished, Progress, Sentence, Sound, Text
from freehold.protocol.realtime.items import Content, Conversation, Item, Spoken
from freehold.protocol.values import Usage

Event = dict[str, Any]


@dataclass
class Answer:
    """`conversation` is None for a response outside of the session's own. `identify` makes ids of a kind."""

    id: str
    conversation: Conversation | None
    conversation_id: str
    modalities: list[str]
    voice: str
    audio_format: Mapping[str, Any]
    per_ms: int
    max_output_tokens: int | str
    metadata: Mapping[str, str] | None
    identify: Callable[[str], str]
    automatic: bool = False
    waiting: bool = False  # for what was said to be recognised
    items: list[Item] = field(default_factory=list)
    _message: int | None = None  # its place among the items
    _calls: dict[int, int] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)

    @property
    def speaks(self) -> bool:
        return self.modalities == ["audio"]

    def has(self, item_id: str) -> bool:
        return any(item.id == item_id for item in self.items)

    def created(self) -> Event:
        return {"type": "response.created", "response": self.shown("in_progress", None, None)}

    def progress(self, told: Progress) -> Iterator[Event]:
        match told:
            case Text(delta=delta):
                yield from self._text(delta)
            case Call():
                yield from self._call(told)
            case Sentence(text=text):
                yield from self._message_item()
                spoken = self._spoken()
                spoken.sentences.append((spoken.sent, text))
            case Sound(audio=audio):
                yield from self._message_item()
                self._spoken().sent += len(audio)
                delta = base64.b64encode(audio).decode()
                yield {"type": "response.output_audio.delta", **self._place(), "delta": delta}
            case Finished(reason=reason, usage=usage):
                cut = reason == "length"
                for place in sorted(self._open):
                    yield from self._close(place, "incomplete" if cut else "completed")
                details: Event = {"type": "completed"}
                if cut:
                    details = {"type": "incomplete", "reason": "max_output_tokens"}
                yield self._done(details, usage)

    def cancelled(self, reason: str) -> Iterator[Event]:
        """The end of a response that is interrupted: what was not sent was not said."""
        for place in sorted(self._open):
            item = self.items[place]
            if item.spoken is not None:
                item.content[0].text = item.spoken.until(item.spoken.milliseconds)
            yield from self._close(place, "incomplete")
        yield self._done({"type": "cancelled", "reason": reason}, None)

    def failed(self, error: FreeholdError) -> Iterator[Event]:
        for place in sorted(self._open):
            yield from self._close(place, "incomplete")
        told = {"type": error.type, "code": error.code, "message": error.message}
        yield self._done({"type": "failed", "error": told}, None)

    def shown(self, status: str, details: Event | None, usage: Usage | None) -> Event:
        audio = {"output": {"format": self.audio_format, "voice": self.voice}}
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.shown() for item in self.items],
            "conversation_id": self.conversation_id if self.conversation is not None else None,
            "output_modalities": self.modalities,
            "max_output_tokens": self.max_output_tokens,
            "audio": audio,
            "metadata": self.metadata,
            "usage": _usage(usage) if usage is not None else None,
        }

    # The inside.

    def _done(self, details: Event, usage: Usage | None) -> Event:
        return {"type": "response.done", "response": self.shown(details["type"], details, usage)}

    def _place(self, place: int | None = None) -> Event:
        at = self._message if place is None else place
        assert at is not None  # noqa: S101 - made by the caller
        where: Event = {"response_id": self.id, "item_id": self.items[at].id, "output_index": at}
        return where if self.items[at].type == "function_call" else {**where, "content_index": 0}

    def _spoken(self) -> Spoken:
        assert self._message is not None  # noqa: S101 - made by the caller
        spoken = self.items[self._message].spoken
        assert spoken is not None  # noqa: S101
        return spoken

    def _add(self, item: Item) -> Iterator[Event]:
        place = len(self.items)
        self.items.append(item)
        self._open.add(place)
        yield {"type": "response.output_item.added", "response_id": self.id, "output_index": place, "item": item.shown()}
        if self.conversation is not None:
            before = self.conversation.last
            self.conversation.insert(item)
            yield {"type": "conversation.item.added", "previous_item_id": before, "item": item.shown()}

    def _message_item(self) -> Iterator[Event]:
        if self._message is not None:
            return
        item = Item(self.identify("item"), "message", "in_progress", "assistant")
        item.spoken = Spoken(self.per_ms) if self.speaks else None
        self._message = len(self.items)
        yield from self._add(item)
        item.content.append(Content("output_audio" if self.speaks else "output_text", ""))
        yield {"type": "response.content_part.added", **self._place(), "part": self._part("")}

    def _part(self, text: str) -> Event:
        return {"type": "audio", "transcript": text} if self.speaks else {"type": "text", "text": text}

    def _text(self, delta: str) -> Iterator[Event]:
        yield from self._message_item()
        content = self.items[self._message or 0].content[0]
        content.text = (content.text or "") + delta
        kind = "response.output_audio_transcript.delta" if self.speaks else "response.output_text.delta"
        yield {"type": kind, **self._place(), "delta": delta}

    def _call(self, told: Call) -> Iterator[Event]:
        if told.index not in self._calls:
            self._calls[told.index] = len(self.items)
            call_id = told.call_id or self.identify("call")
            item = Item(self.identify("item"), "function_call", "in_progress", call_id=call_id, name=told.name or "")
            yield from self._add(item)
        place = self._calls[told.index]
        item = self.items[place]
        if told.arguments:
            item.text += told.arguments
            kind = "response.function_call_arguments.delta"
            yield {"type": kind, **self._place(place), "call_id": item.call_id, "delta": told.arguments}

    def _close(self, place: int, status: str) -> Iterator[Event]:
        self._open.discard(place)
        item = self.items[place]
        item.status = status
        where = self._place(place)
        if item.type == "function_call":
            told = {"call_id": item.call_id, "name": item.name, "arguments": item.text}
            yield {"type": "response.function_call_arguments.done", **where, **told}
        else:
            text = item.content[0].text or ""
            if item.spoken is not None:
                item.spoken.whole = True
                yield {"type": "response.output_audio.done", **where}
                yield {"type": "response.output_audio_transcript.done", **where, "transcript": text}
            else:
                yield {"type": "response.output_text.done", **where, "text": text}
            yield {"type": "response.content_part.done", **where, "part": self._part(text)}
        if self.conversation is not None and self.conversation.has(item.id):
            self.conversation.weigh(item)
            before = self.conversation.before(item.id)
            yield {"type": "conversation.item.done", "previous_item_id": before, "item": item.shown()}
        yield {"type": "response.output_item.done", "response_id": self.id, "output_index": place, "item": item.shown()}


def _usage(usage: Usage) -> Event:
    """All tokens are of text: audio is recognised before the model, and spoken after it."""
    cached = usage.cached_tokens
    return {
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "input_token_details": {
            "text_tokens": usage.prompt_tokens,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": usage.completion_tokens, "audio_tokens": 0},
    }
