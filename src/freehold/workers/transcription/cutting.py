"""From speech to pieces: what lies close together is recognised as one, which knows more context, and cut only at pauses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.vad import Samples, Span

LONGEST = 28.0  # seconds of a piece, without its padding
_MOST = 29.4  # with it: sherpa-onnx lets Whisper hear 29.5 seconds, and leaves out the rest without a word


@dataclass(frozen=True)
class Cut:
    """How pieces are made, in seconds: none gets longer than `longest` (unless one stretch of speech is, which the
    detector ends in time), nor holds a pause
    longer than `pause`; `first` is the longest that the first may be. `padding` is added at both ends."""

    longest: float = LONGEST
    first: float = LONGEST
    pause: float = 2.0
    padding: float = 0.25


@dataclass(frozen=True)
class Piece:
    """Samples to be recognised: the speech in them is from `start` to `end`, in seconds of the audio; `offset` is where the
    samples begin, `speaker` whose speech it is, where that is known."""

    start: float
    end: float
    offset: float
    samples: Samples
    speaker: str = ""


class Tape:
    """The last samples of an audio, by their number from the beginning."""

    def __init__(self) -> None:
        self._pieces: deque[Samples] = deque()
        self._first = 0
        self.length = 0

    def add(self, samples: Samples) -> None:
        self._pieces.append(samples)
        self.length += len(samples)

    def read(self, start: int, end: int) -> Samples:
        """What of these is still there."""
        at, found = self._first, []
        for piece in self._pieces:
            if at + len(piece) > start and at < end:
                found.append(piece[max(0, start - at) : end - at])
            at += len(piece)
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def forget(self, before: int) -> None:
        while self._pieces and self._first + len(self._pieces[0]) <= before:
            self._first += len(self._pieces.popleft())


class Cutter:
    """Joins the speech that a detector finds. `tape` holds the samples; what is no longer needed is taken off it."""

    def __init__(self, cut: Cut, tape: Tape):
        self._cut = cut
        self._tape = tape
        self._open: Span | None = None
        self._done = 0  # samples before it are in a piece already

    def add(self, span: Span) -> Iterator[Piece]:
        """The piece that is complete because this speech does not belong to it."""
        cut, group = self._cut, self._open
        longest = cut.longest if self._done else cut.first
        if group is None:
            self._open = span
        elif span.speaker == group.speaker and (
            span.end - group.start <= longest * RATE and span.start - group.end <= cut.pause * RATE
        ):
            self._open = replace(group, end=span.end)
        else:
            yield self._piece(group, span.start)
            self._open = span
        self._forget(self._open.start)

    def advance(self, quiet_since: int) -> Iterator[Piece]:
        """The piece that is complete because nothing was said for long enough; there is no speech after `quiet_since`'s end
        that has not been added."""
        cut, group = self._cut, self._open
        first = not self._done
        if group is not None and (quiet_since - group.end > cut.pause * RATE or (first and cut.first < cut.longest)):
            yield self._piece(group, quiet_since)
            self._open = None
        self._forget(self._open.start if self._open else quiet_since)

    def _forget(self, before: int) -> None:
        """What lies so far before this that it is in no piece to come. Speech may have begun a little before it is found."""
        self._tape.forget(before - int((2 + self._cut.padding) * RATE))

    @property
    def open_from(self) -> int | None:
        """The first sample of the piece that is not complete; None where there is none."""
        return None if self._open is None else self._from(self._open, self._padding(self._open))

    def end(self) -> Iterator[Piece]:
        if self._open is not None:
            yield self._piece(self._open, self._tape.length)
            self._open = None

    def _piece(self, group: Span, following: int) -> Piece:
        """With padding, but without what belongs to the pieces beside it."""
        padding = self._padding(group)
        start = self._from(group, padding)
        end = min(group.end + padding, max(group.end, following), self._tape.length)
        self._done = end
        samples = self._tape.read(start, end)
        return Piece(group.start / RATE, group.end / RATE, start / RATE, samples, group.speaker)

    def _padding(self, group: Span) -> int:
        most = max(_MOST, self._cut.longest + _MOST - LONGEST)
        room = (most - (group.end - group.start) / RATE) / 2
        return int(max(0.0, min(self._cut.padding, room)) * RATE)

    def _from(self, group: Span, padding: int) -> int:
        return max(self._done, group.start - padding, 0)


def quietest(samples: Samples, first: int, last: int) -> int:
    """Where between these two samples to part them: in the quietest tenth of a second."""
    frame = RATE // 50
    frames = samples[first : first + (last - first) // frame * frame].reshape(-1, frame)
    energy = np.convolve(np.square(frames).sum(axis=1), np.ones(5), "valid")
    return first + int(np.argmin(energy)) * frame + 5 * frame // 2
