"""A benchmark's report that also knows which goals it missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.report import Report


@dataclass
class Judged(Report):
    """Figures with bounds. `missed` are those outside of theirs."""

    missed: list[str] = field(default_factory=list)

    def at_most(self, what: str, value: float, bound: float, unit: str, note: str = "") -> None:
        self._judge(what, value, unit, f"≤ {bound:,g}", value <= bound, note)

    def at_least(self, what: str, value: float, bound: float, unit: str, note: str = "") -> None:
        self._judge(what, value, unit, f"≥ {bound:,g}", value >= bound, note)

    def exactly(self, what: str, value: float, wanted: float, unit: str, note: str = "") -> None:
        self._judge(what, value, unit, f"{wanted:,g}", value == wanted, note)

    def _judge(self, what: str, value: float, unit: str, goal: str, met: bool, note: str) -> None:
        if not met:
            self.missed.append(what)
        self.add(what, value, unit, goal, f"{'' if met else 'MISSED '}{note}".strip())


def slope(values: Sequence[tuple[float, float]]) -> float:
    """The rise of a line through (x, y) points by least squares, per unit of x; 0 for fewer than two points."""
    count = len(values)
    if count < 2:
        return 0.0
    middle_x, middle_y = sum(x for x, _ in values) / count, sum(y for _, y in values) / count
    spread = sum((x - middle_x) ** 2 for x, _ in values)
    return sum((x - middle_x) * (y - middle_y) for x, y in values) / spread if spread else 0.0
