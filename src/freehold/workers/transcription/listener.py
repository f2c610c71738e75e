"""Turns in the samples of one client: where each begins and ends, and what is being recognised of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.protocol.transcripts import Segment, joined
from freehold.workers.serve import Refused
from freehold.workers.transcription.cutting import Cut, Cutter, Piece, Tape
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Asked
from freehold.workers.transcription.pcm import Stream
from freehold.workers.transcription.vad import Detector, Samples, Sensitivity, Span

Event = dict[str, Any]
_ONSET = 0.25  # seconds that the detector takes to be sure of speech
_LEAST = 0.1  # seconds of padding: cut tight, words are lost
_TURNS = (("threshold", 0.5, 1), ("silence_duration_ms", 500, 10_000), ("prefix_padding_ms", 300, 5_000))  # usual, highest


@dataclass(frozen=True)
class Open:
    """What was said of a turn that goes on: its complete pieces, being recognised, and which samples there are after them."""

    pieces: tuple[concurrent.futures.Future[Segment], ...]
    start: int
    end: int


@dataclass(frozen=True)
class Turn:
    """What was said from `start` to `end` (seconds of the session): its pieces, being recognised."""

    pieces: tuple[concurrent.futures.Future[Segment], ...]
    start: float
    end: float

    @property
    def end_ms(self) -> int:
        return round(1000 * self.end)

    async def completed(self) -> Event:
        segments = [await asyncio.wrap_future(piece) for piece in self.pieces]
        return {
            "type": "completed",
            "text": joined(segment.text for segment in segments),
            "audio_start_ms": round(1000 * self.start),
            "audio_end_ms": self.end_ms,
            "seconds": round(self.end - self.start, 3),
        }


class Listener:
    """Finds turns in the samples of one client. Not for several threads. `submit` begins to recognise a piece. `deltas` is
    whether the client wants to be told of a turn before it ends."""

    def __init__(self, submit: Callable[[Piece, Asked], concurrent.futures.Future[Segment]], longest: float):
        self._submit = submit
        self._longest = longest
        self._tape = Tape()
        self._pieces: list[concurrent.futures.Future[Segment]] = []
        self._said: tuple[int, int] | None = None  # from which sample to which there was speech since the last end
        self._since = 0  # the sample after the last end
        self._speaking = False
        self._began = 0  # the sample from which there is speech, while somebody speaks
        self.deltas = False
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
        self.deltas = bool(session.get("deltas"))
        self.asked = Asked(str(session.get("language") or ""))
        self._stream = Stream(rate, form)
        self._detector = Detector(self._sensitivity)
        self.clear()

    def clear(self) -> None:
        """Forgets what was said and not ended; it is no longer recognised."""
        for piece in self._pieces:
            piece.cancel()
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
        if speaking and not self._speaking:
            before = int((_ONSET + self._sensitivity.padding) * RATE)
            self._began = max(self._since, self._tape.length - before)
        if self._turns and speaking and not self._speaking:
            events.append({"type": "speech_started", "audio_start_ms": round(1000 * self._began / RATE)})
        self._speaking = speaking
        if speaking:
            return events, None
        if self._turns and self._said:
            turn = self._turn(*self._said)
            return [*events, {"type": "speech_stopped", "audio_end_ms": turn.end_ms}], turn
        self._pieces += map(self._recognised, self._cutter.advance(self._tape.length))
        return events, None

    def commit(self) -> tuple[list[Event], Turn]:
        """Ends what was said until now, speech or not."""
        self._cut(self._detector.end())
        stopped = self._turns and self._speaking
        turn = self._turn(self._since, self._tape.length)
        self.clear()
        return [{"type": "speech_stopped", "audio_end_ms": turn.end_ms, "committed": True}] if stopped else [], turn

    @property
    def open(self) -> Open | None:
        """What is being said; None while nobody speaks."""
        if not self._speaking:
            return None
        start = self._cutter.open_from
        return Open(tuple(self._pieces), self._began if start is None else start, self._tape.length)

    def read(self, start: int, end: int) -> Samples:
        """These samples, as far as they are still needed."""
        return self._tape.read(start, end)

    def _recognised(self, piece: Piece) -> concurrent.futures.Future[Segment]:
        return self._submit(piece, self.asked)

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
