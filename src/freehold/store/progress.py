"""How far a pull is, and how fast it goes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from freehold.store.disk import megabytes

Stage = Literal["download", "verify", "unpack", "convert", "install"]

_WORDS: dict[Stage, str] = {
    "download": "downloading",
    "verify": "checking",
    "unpack": "unpacking",
    "convert": "converting",
    "install": "installing",
}
_WINDOW = 5.0  # seconds over which the rate is taken
_SHORTEST = 0.5  # seconds before there is one
_LONGEST_ETA = 100 * 86_400.0


@dataclass(frozen=True)
class Progress:
    """`done` of `total` bytes of a stage; the total is None where nobody knows it.

    `rate_bytes_per_s` is that of the last seconds, `eta_s` the seconds that remain at that rate; None where there is none.
    """

    stage: Stage
    done: int
    total: int | None
    rate_bytes_per_s: float | None = None
    eta_s: float | None = None

    def describe(self) -> str:
        """ "downloading, 43 of 93 MB (46 %), 12.5 MB/s, 4 s left", or as much of that as is known."""
        word = _WORDS[self.stage]
        if not self.total:
            return f"{word}, {megabytes(self.done)}" if self.done else word
        share = min(100, 100 * self.done // self.total)
        text = f"{word}, {_number(self.done, self.total)} of {megabytes(self.total)} ({share} %)"
        if self.rate_bytes_per_s is None or self.done >= self.total:
            return text
        left = f", {duration(self.eta_s)} left" if self.eta_s is not None else ""
        return f"{text}, {self.rate_bytes_per_s / 1e6:.1f} MB/s{left}"


OnProgress = Callable[[Progress], None]


class Meter:
    """Adds up the bytes of one stage and reports each step, from whichever thread."""

    def __init__(self, report: OnProgress, stage: Stage, total: int | None, clock: Callable[[], float] = time.monotonic):
        self._report = report
        self._stage: Stage = stage
        self._total = total
        self._done = 0
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()
        self.at(0)

    def add(self, count: int) -> None:
        """So many bytes more, or less: what has to be fetched again."""
        with self._lock:
            self._at(self._done + count)

    def here(self, count: int) -> None:
        """So many bytes that were there before: they say nothing of the rate."""
        with self._lock:
            self._seen = deque((when, done + count) for when, done in self._seen)
            self._at(self._done + count)

    def expect(self, count: int) -> None:
        """The total is so many bytes more than was known."""
        with self._lock:
            self._total = (self._total or 0) + count

    def at(self, done: int) -> None:
        with self._lock:
            self._at(done)

    def _at(self, done: int) -> None:
        self._done = max(0, done if self._total is None else min(done, self._total))
        now = self._clock()
        while self._seen and (self._seen[0][1] > self._done or (now - self._seen[0][0] > _WINDOW and len(self._seen) > 1)):
            self._seen.popleft()
        if not self._seen or now - self._seen[-1][0] >= 0.1:
            self._seen.append((now, self._done))
        when, before = self._seen[0]
        rate = (self._done - before) / (now - when) if now - when >= _SHORTEST else None
        left = None if not rate or rate < 0 or self._total is None else min((self._total - self._done) / rate, _LONGEST_ETA)
        shown = round(rate, 1) if rate is not None and rate >= 0 else None
        self._report(Progress(self._stage, self._done, self._total, shown, None if left is None else round(left, 1)))


def duration(seconds: float | None) -> str:
    """Seconds for people: "4 s", "3 min", "2.5 h"."""
    seconds = seconds or 0.0
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _number(done: int, total: int) -> str:
    """The bytes done in the unit of the total, without it: "43" of "93 MB"."""
    return f"{done / 1e9:.1f}" if total >= 10**9 else f"{done / 1e6:.0f}"
