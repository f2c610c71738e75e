"""How far a pull is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from freehold.store.disk import megabytes

Stage = Literal["download", "verify", "convert", "install"]

_WORDS: dict[Stage, str] = {"download": "downloading", "verify": "checking", "convert": "converting", "install": "installing"}


@dataclass(frozen=True)
class Progress:
    """`done` of `total` bytes of a stage; the total is None where nobody knows it."""

    stage: Stage
    done: int
    total: int | None

    def describe(self) -> str:
        """ "downloading, 43 of 93 MB (46 %)", or as much of that as is known."""
        word = _WORDS[self.stage]
        if not self.total:
            return f"{word}, {megabytes(self.done)}" if self.done else word
        share = 100 * self.done // self.total
        return f"{word}, {_number(self.done, self.total)} of {megabytes(self.total)} ({min(100, share)} %)"


OnProgress = Callable[[Progress], None]


class Meter:
    """Adds up the bytes of one stage and reports each step."""

    def __init__(self, report: OnProgress, stage: Stage, total: int | None):
        self._report = report
        self._stage: Stage = stage
        self._total = total
        self._done = 0
        self.at(0)

    def add(self, count: int) -> None:
        self.at(self._done + count)

    def at(self, done: int) -> None:
        self._done = done if self._total is None else min(done, self._total)
        self._report(Progress(self._stage, self._done, self._total))


def _number(done: int, total: int) -> str:
    """The bytes done in the unit of the total, without it: "43" of "93 MB"."""
    return f"{done / 1e9:.1f}" if total >= 10**9 else f"{done / 1e6:.0f}"
