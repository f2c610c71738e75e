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


def decide(load: Load, may_start: bool, queue_size: int) -> Verdict:
    """A newcomer whose slots are free (`may_start`) never overtakes those that wait. While a model loads, those that will have
    its slots are not counted as its queue."""
    if load.waiting == 0 and may_start:
        return Verdict.START
    return Verdict.WAIT if load.waiting < queue_size + load.slots - load.taken else Verdict.REFUSE


def retry_after(load: Load) -> float:
    """Whole seconds after which a slot is likely free for someone turned away now; 1 to 60."""
    rounds = (load.waiting + 1) / load.slots
    return float(min(max(math.ceil(rounds * load.usual_seconds), 1), 60))
