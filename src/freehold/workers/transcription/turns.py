"""Whose speech is what: turns, as they are told for a file, and the speech that the detector finds in it."""

from __future__ import annotations

import bisect
import itertools
import json
import math
from collections import deque
from collections.abc import Iterator

from freehold.workers.serve import Refused
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.vad import Span

_LEAST = RATE // 4  # samples of a part; a shorter one belongs to its neighbour
_MOST = 1_000_000


class Turns:
    """Turns of speakers. Where two overlap, speech belongs to the one that began later, which interrupts; where there is none,
    to the nearest."""

    def __init__(self, turns: list[tuple[float, float, str]]):
        """Each has its beginning and its end in seconds, and its speaker."""
        self._bounds: list[int] = []  # samples from which on another speaks
        self._speakers: list[str] = []
        before = 0.0  # when somebody last spoke
        for start, end, speaker in _heard(turns):
            if not self._speakers:
                self._add(0, speaker)
            elif speaker != self._speakers[-1]:
                self._add(round(RATE * (before + start) / 2), speaker)
            before = end

    def _add(self, bound: int, speaker: str) -> None:
        self._bounds.append(bound)
        self._speakers.append(speaker)

    @classmethod
    def parsed(cls, text: str) -> Turns:
        """Of JSON: [[start, end, speaker], ...]. Raises Refused."""
        try:
            given = json.loads(text)
            turns = [(float(start), float(end), str(speaker)[:200]) for start, end, speaker in given[:_MOST]]
        except (ValueError, TypeError, RecursionError):
            raise Refused("The turns are a list of beginnings, ends and speakers.", param="turns") from None
        if not all(0 <= start < math.inf and 0 <= end < math.inf for start, end, _ in turns):
            raise Refused("The turns are numbers of seconds.", param="turns")
        return cls(turns)

    def parted(self, span: Span) -> Iterator[Span]:
        """The parts of a stretch of speech, each with its speaker; the whole of it with none where nobody was heard."""
        if not self._speakers:
            yield span
            return
        first = max(0, bisect.bisect_right(self._bounds, span.start) - 1)
        last = max(first, bisect.bisect_left(self._bounds, span.end) - 1)
        start = span.start
        for number in range(first, last + 1):
            end = span.end if number == last else self._bounds[number + 1]
            if end - start < _LEAST and number < last:
                continue  # it goes to the next
            if number < last and span.end - end < _LEAST:
                end = span.end  # the rest is too short
            yield Span(start, end, self._speakers[number])
            start = end
            if end == span.end:
                return


def _heard(turns: list[tuple[float, float, str]]) -> Iterator[tuple[float, float, str]]:
    """What is heard between two beginnings or ends, where somebody speaks: of all who do, the one that began last."""
    edges = sorted({edge for start, end, _ in turns if start < end for edge in (start, end)})
    coming, speaking = deque(sorted(turns)), list[tuple[float, float, str]]()
    for start, end in itertools.pairwise(edges):
        while coming and coming[0][0] <= start:
            speaking.append(coming.popleft())
        speaking = [turn for turn in speaking if turn[1] > start]
        if speaking:
            yield start, end, speaking[-1][2]
