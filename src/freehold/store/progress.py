"""How far a pull is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["download", "verify", "convert", "install"]


@dataclass(frozen=True)
class Progress:
    """`done` of `total` bytes of a stage; the total is None where nobody knows it."""

    stage: Stage
    done: int
    total: int | None


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
