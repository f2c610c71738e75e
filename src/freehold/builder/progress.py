"""How far the making of a build is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from freehold.store.disk import megabytes


@dataclass(frozen=True)
class Step:
    """`done` of `total` of a stage (the total is None where nobody knows it), and how to say it to people."""

    stage: str
    done: int = 0
    total: int | None = None
    text: str = ""

    def describe(self) -> str:
        return self.text or self.stage


OnStep = Callable[[Step], None]


def bytes_of(stage: str, done: int, total: int) -> Step:
    """A step that is counted in bytes: "downloading the sources, 43 MB of 77 MB"."""
    done = min(done, total)
    return Step(stage, done, total, f"{stage}, {megabytes(done)} of {megabytes(total)}")


@dataclass
class Compiling:
    """Counts the steps of a compilation, and tells from their pace how long the rest will take."""

    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _first: int = field(default=0)

    def at(self, done: int, total: int) -> Step:
        now = self.clock()
        if self._began is None:
            self._began, self._first = now, done
        text = f"compiling, step {done} of {total}"
        made, lasted = done - self._first, now - self._began
        if made > 0 and done < total:
            text += f", about {_duration(lasted / made * (total - done))} left"
        return Step("compiling", done, total, text)


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
