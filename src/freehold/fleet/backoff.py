"""When a worker that ended is started again: a pause that grows, and a budget after which nobody tries any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.settings import WorkerSettings

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0


@dataclass(frozen=True)
class Wait:
    """Seconds until the next start. `given_up`: it takes a request or an order after that, it does not come by itself."""

    seconds: float
    given_up: bool = False


def next_start(crashes: Sequence[float], now: float, served: bool, rules: WorkerSettings) -> Wait:
    """What follows a crash. `crashes` are the times of all of them, in seconds, the last one at `now`.

    A worker that had served and crashes for the first time in a while is started at once; after that each pause is twice the
    one before; and with `rules.crash_budget` crashes within `rules.crash_window` seconds, the model has failed.
    """
    recent = sum(1 for crash in crashes if crash > now - rules.crash_window)
    if recent >= rules.crash_budget:
        return Wait(rules.cool_down, given_up=True)
    if served and recent <= 1:
        return Wait(0.0)
    return Wait(min(_FIRST_PAUSE * 2 ** (recent - 1), _LONGEST_PAUSE))
