"""Who may start, who waits, who is turned away: pure decisions from numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto


class Verdict(Enum):
    START = auto()
    WAIT = auto()
    REFUSE = auto()


@dataclass(frozen=True)
class Load:
    """One model's state: slots in all, slots taken, requests waiting, and the usual seconds a request holds a slot."""

    slots: int
    taken: int
    waiting: int
    usual_seconds: float


def decide(load: Load, need: int, queue_size: int) -> Verdict:
    """First come, first served: a newcomer never overtakes those that wait, even when a slot is free."""
    if load.waiting == 0 and load.taken + need <= load.slots:
        return Verdict.START
    return Verdict.WAIT if load.waiting < queue_size else Verdict.REFUSE


def retry_after(load: Load) -> float:
    """Whole seconds after which a slot is likely free for someone turned away now; 1 to 60."""
    rounds = (load.waiting + 1) / load.slots
    return float(min(max(math.ceil(rounds * load.usual_seconds), 1), 60))
