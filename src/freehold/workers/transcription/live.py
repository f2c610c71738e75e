"""Speech as it is spoken: a WebSocket that takes samples and tells when somebody speaks, and what was said.

    GET /v1/realtime?intent=transcription

A client's text frames are JSON. {"type": "session.update", "session": {"rate": 24000, "format": "pcm16" | "g711_ulaw" |
"g711_alaw", "language", "turn_detection": {"threshold", "prefix_padding_ms", "silence_duration_ms"} | null}} says what its
binary frames hold, one channel; samples of pcm16 are little-endian. {"type": "commit"} ends what was said until now, {"type":
"clear"} forgets it. Without turn detection only a commit ends it.

The worker's frames are JSON: {"type": "session.updated"}; {"type": "speech_started", "audio_start_ms"}; {"type":
"speech_stopped", "audio_end_ms"}; {"type": "completed", "text", "audio_start_ms", "audio_end_ms", "seconds"} for all that was
said between two ends, in order; {"type": "error", "message", "param", "code"}. Times count from the session's first sample.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from freehold.protocol.transcripts import Segment, joined
from freehold.workers.serve import Refused
from freehold.workers.transcription.cutting import Cut, Cutter, Piece, Tape
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Asked
from freehold.workers.transcription.pcm import Stream
from freehold.workers.transcription.recognise import Recogniser
from freehold.workers.transcription.vad import Detector, Sensitivity, Span

Event = dict[str, Any]
_WAITING = 8  # turns that wait to be recognised, before the client is made to wait
_ONSET = 0.25  # seconds that the detector takes to be sure of speech
_LEAST = 0.1  # seconds of padding: cut tight, words are lost
_TURNS = (("threshold", 0.5, 1), ("silence_duration_ms", 500, 10_000), ("prefix_padding_ms", 300, 5_000))  # usual, highest


@dataclass(frozen=True)
class Turn:
    """What was said from `start` to `end` (seconds of the session): its pieces, being recognised."""

    pieces: tuple[concurrent.futures.Future[Segment], ...]
    start: float
    end: float

    async def completed(self) -> Event:
        segments = [await asyncio.wrap_future(piece) for piece in self.pieces]
        return {
            "type": "completed",
            "text": joined(segment.text for segment in segments),
            **_span(self.start, self.end),
            "seconds": round(self.end - self.start, 3),
        }


class Listener:
    """Finds turns in the samples of one client. Not for several threads. `submit` begins to recognise a piece."""

    def __init__(self, submit: Callable[[Piece, Asked], concurrent.futures.Future[Segment]], longest: float):
        self._submit = submit
        self._longest = longest
        self._tape = Tape()
        self._pieces: list[concurrent.futures.Future[Segment]] = []
        self._said: tuple[int, int] | None = None  # from which sample to which there was speech since the last end
        self._since = 0  # the sample after the last end
        self._speaking = False
        self.update({})

    def update(self, session: Mapping[str, Any]) -> None:
        """Settings of the session; what was said before and not ended is forgotten. Raises Refused for what is not valid."""
        rate, form = session.get("rate", 24_000), session.get("format", "pcm16")
        if type(rate) is not int or not 8_000 <= rate <= 96_000:
            raise Refused("The rate is a number of samples a second, 8,000 to 96,000.", param="rate")
        if form not in Stream.FORMATS:
            raise Refused(f"The format is one of {', '.join(Stream.FORMATS)}.", param="format")
        turns = session.get("turn_detection", {})
        self._turns = turns is not None
        self._sensitivity = _sensitivity({} if turns is None else turns)
        self._asked = Asked(str(session.get("language") or ""))
        self._stream = Stream(rate, form)
        self._detector = Detector(self._sensitivity)
        self.clear()

    def clear(self) -> None:
        """Forgets what was said and not ended."""
        cut = Cut(self._longest, self._longest, padding=max(_LEAST, self._sensitivity.padding))
        self._cutter = Cutter(cut, self._tape)
        self._detector.restart(self._tape.length)
        self._next()

    def feed(self, data: bytes) -> tuple[list[Event], Turn | None]:
        """What is to be told after these bytes, and the turn that ended in them."""
        samples = self._stream.samples(data)
        self._tape.add(samples)
        self._cut(self._detector.feed(samples))
        speaking, events = self._detector.speaking, []
        if self._turns and speaking and not self._speaking:
            start = max(self._since / RATE, self._tape.length / RATE - _ONSET - self._sensitivity.padding)
            events.append({"type": "speech_started", "audio_start_ms": round(1000 * start)})
        self._speaking = speaking
        if speaking:
            return events, None
        if self._turns and self._said:
            events.append({"type": "speech_stopped", "audio_end_ms": round(1000 * self._said[1] / RATE)})
            return events, self._turn(*self._said)
        self._pieces += map(self._recognised, self._cutter.advance(self._tape.length))
        return events, None

    def commit(self) -> tuple[list[Event], Turn]:
        """Ends what was said until now, speech or not."""
        self._cut(self._detector.end())
        end = self._tape.length
        stopped = self._turns and self._speaking
        events: list[Event] = [{"type": "speech_stopped", "audio_end_ms": round(1000 * end / RATE)}] if stopped else []
        turn = self._turn(self._since, end)
        self.clear()
        return events, turn

    def _recognised(self, piece: Piece) -> concurrent.futures.Future[Segment]:
        return self._submit(piece, self._asked)

    def _cut(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self._pieces += map(self._recognised, self._cutter.add(span))
            self._said = (self._said[0] if self._said else span.start, span.end)

    def _turn(self, start: int, end: int) -> Turn:
        self._pieces += map(self._recognised, self._cutter.end())
        turn = Turn(tuple(self._pieces), start / RATE, end / RATE)
        self._next()
        return turn

    def _next(self) -> None:
        self._pieces, self._said, self._since, self._speaking = [], None, self._tape.length, False


class Live:
    """The route's handler."""

    def __init__(self, recogniser: Recogniser):
        self._recogniser = recogniser

    async def listen(self, socket: WebSocket) -> None:
        await socket.accept()
        turns: asyncio.Queue[Turn] = asyncio.Queue(_WAITING)
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(_tell(socket, turns))
            try:
                await self._serve(socket, turns)
            except (WebSocketDisconnect, RuntimeError):  # the second is Starlette's for a frame to a client that has left
                pass
            finally:
                telling.cancel()

    async def _serve(self, socket: WebSocket, turns: asyncio.Queue[Turn]) -> None:
        listener = Listener(self._recogniser.submit, self._recogniser.model.longest)
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                events, turn = await self._heard(listener, message)
            except Refused as error:
                told = {"message": error.message, "param": error.param, "code": error.code}
                events, turn = [{"type": "error", **told}], None
            for event in events:
                await socket.send_json(event)
            if turn is not None:
                await turns.put(turn)

    async def _heard(self, listener: Listener, message: Mapping[str, Any]) -> tuple[list[Event], Turn | None]:
        if (data := message.get("bytes")) is not None:
            return await asyncio.to_thread(listener.feed, data)
        asked = _parsed(message.get("text") or "")
        match asked.get("type"):
            case "session.update" if isinstance(asked.get("session"), dict):
                self._check(asked["session"].get("language"))
                await asyncio.to_thread(listener.update, asked["session"])
                return [{"type": "session.updated"}], None
            case "commit":
                return await asyncio.to_thread(listener.commit)
            case "clear":
                listener.clear()
                return [], None
        raise Refused("A frame is of type session.update (with a session), commit or clear.", param="type")

    def _check(self, language: object) -> None:
        known = self._recogniser.model.languages
        if language and known and language not in known:
            raise Refused(
                f"This model does not know the language {str(language)[:20]!r}; it knows: {', '.join(known)}.",
                param="language",
                code="unsupported_language",
            )


async def _tell(socket: WebSocket, turns: asyncio.Queue[Turn]) -> None:
    """Sends what was said, turn after turn."""
    while True:
        turn = await turns.get()
        await socket.send_json(await turn.completed())


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("A text frame must be JSON.") from None
    if not isinstance(value, dict):
        raise Refused("A text frame must be a JSON object.")
    return value


def _sensitivity(turns: object) -> Sensitivity:
    """Of a turn detection. Raises Refused."""
    if not isinstance(turns, dict):
        raise Refused("turn_detection is an object, or null.", param="turn_detection")
    found = []
    for name, usual, highest in _TURNS:
        value = turns.get(name)
        value = usual if value is None else value
        if type(value) not in (int, float) or not 0 <= value <= highest:
            raise Refused(f"{name} is a number from 0 to {highest:,}.", param=f"turn_detection.{name}")
        found.append(value)
    return Sensitivity(found[0], found[1] / 1000, found[2] / 1000)


def _span(start: float, end: float) -> Event:
    return {"audio_start_ms": round(1000 * start), "audio_end_ms": round(1000 * end)}
