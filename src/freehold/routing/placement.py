"""Which models are in memory: pure decisions from a picture of all of them.

A model that is wanted is loaded when there is room. Else idle models make room, the longest unused first; one with a lease
never does. When only busy models could, those that wait let them go on for a turn (requests for the loaded model go first),
then the one that has been in longest is closed: it finishes what it has begun, leaves, and waits for its own turn. A turn is
never shorter than a few loads of the newcomer, so that two models that do not fit together serve more than they load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["out", "loading", "in", "closing", "leaving"]
LOADS_IN_A_TURN = 4.0
# A busy model that has been idle for a moment only is likely wanted again: it is given some of its usual gaps between requests,
# but never longer than a load of the newcomer takes, which is what a mistake costs. One whose gaps are longer than that load
# would hardly be asked in time, and is given nothing.
_GAPS = 12.0


@dataclass(frozen=True)
class View:
    """A model as it stands. `memory` is bytes by device, `devices` those that its load keeps busy; times are seconds.

    `waited` is how long its oldest waiting request has waited, `unused` how long it has had no request, `stayed` how long it
    has been in, `gap` the usual time between two of its requests, `load_seconds` what a load takes. `keep_alive` is how long it
    stays unused, None for as long as there is room. One that `must_leave` was asked to, or has been installed anew: it is
    closed, and never opened again. One that is `failing` goes before others.
    """

    name: str
    memory: Mapping[str, int]
    devices: frozenset[str] = frozenset({"host"})
    state: State = "out"
    leased: int = 0
    waiting: int = 0
    waited: float = 0.0
    unused: float = 0.0
    stayed: float = 0.0
    keep_alive: float | None = None
    pinned: bool = False
    must_leave: bool = False
    failing: bool = False
    load_seconds: float = 0.0
    gap: float = 0.0

    @property
    def idle(self) -> bool:
        return self.state == "in" and self.leased == 0 and self.waiting == 0


@dataclass(frozen=True)
class Load:
    name: str


@dataclass(frozen=True)
class Evict:
    """Ends a model without leases. `why` is for people."""

    name: str
    why: str


@dataclass(frozen=True)
class Close:
    """No new lease for this model, so that it can leave."""

    name: str


@dataclass(frozen=True)
class Reopen:
    name: str


@dataclass(frozen=True)
class Refuse:
    """A wanted model that cannot come in, whatever leaves: what it needs and what could be had, bytes, where it lacks most."""

    name: str
    device: str
    needed: int
    could_be_free: int
    holders: tuple[str, ...]


Action = Load | Evict | Close | Reopen | Refuse


@dataclass(frozen=True)
class Decision:
    """What to do now, and after how many seconds to look again when nothing else happens."""

    actions: tuple[Action, ...] = ()
    again_in: float | None = None


def decide(models: Sequence[View], free: Mapping[str, int], turn: float) -> Decision:
    """`free` is bytes by device that no model has; `turn` is the seconds that others wait while a model is busy."""
    plan = _Plan(models, free, turn)
    plan.close_or_reopen()
    for model in sorted((m for m in models if m.state == "out" and m.waiting), key=lambda m: -m.waited):
        plan.place(model)
    plan.let_go()
    return Decision(tuple(plan.actions), min(plan.times, default=None))


class _Plan:
    """One decision as it comes about. `_now` is what is free at this moment, `_soon` what will be once all that is on its way
    out has gone, less what has been promised to models that come in."""

    def __init__(self, models: Sequence[View], free: Mapping[str, int], turn: float):
        self._models = models
        self._free, self._now, self._soon = dict(free), dict(free), dict(free)
        self._turn = turn
        self._going = set[str]()
        for model in models:
            if model.state == "leaving":
                self._go(model)
        self._lanes = {device for model in models if model.state == "loading" for device in model.devices}
        self.actions: list[Action] = []
        self.times: list[float] = []

    def close_or_reopen(self) -> None:
        """A closed model leaves with its last lease; when nobody waits for its room any more, it opens again."""
        wanted = any(model.state == "out" and model.waiting for model in self._models)
        for model in self._models:
            if model.state != "closing" and not (model.state == "in" and model.must_leave):
                continue
            if not wanted and not model.must_leave:
                self.actions.append(Reopen(model.name))
            elif model.leased == 0:
                self._evict(model, "it was asked to leave" if model.must_leave else "its turn is over")
            elif model.must_leave and model.state == "in":
                self.actions.append(Close(model.name))
                self._go(model)
            else:
                self._go(model)

    def place(self, model: View) -> None:
        """Loads a wanted model, or makes room for it, or waits, or says that it cannot be."""
        if not _lacking(model, self._soon):
            _change(self._soon, model.memory, -1)
            if not _lacking(model, self._now) and not self._lanes & model.devices:
                _change(self._now, model.memory, -1)
                self._lanes |= model.devices
                self.actions.append(Load(model.name))
        elif victims := self._victims(model, [m for m in self._staying() if m.idle]):
            self._replace(victims, model)
        elif victims := self._victims(model, list(self._staying())):
            self._wait_for_a_turn(model, victims)
        else:
            self._refuse_if_never(model)

    def _replace(self, victims: list[View], model: View) -> None:
        if model.waited < self._turn and self._likely_wanted(victims, model):
            return
        for victim in victims:
            self._evict(victim, f"{model.name} needs its memory")
        _change(self._soon, model.memory, -1)

    def _likely_wanted(self, victims: list[View], model: View) -> bool:
        """Whether idle models still have their moment before they make room for a newcomer."""
        moments = [(_moment(victim, model.load_seconds), victim.unused) for victim in victims]
        if not any(moment for moment, _ in moments):
            return False
        if self._lanes & model.devices:
            return True  # the newcomer's load could not begin yet; when it can, all is looked at again
        # Who waited for the model that came in last could not ask for these meanwhile: their moment begins with it.
        settled = min(other.stayed for other in self._models if other.state == "in")
        left = max(moment - min(unused, settled) for moment, unused in moments)
        if left > 0:
            self.times.append(left)
        return left > 0

    def let_go(self) -> None:
        """Models whose time without requests is over leave."""
        for model in self._staying():
            if not model.idle or model.keep_alive is None:
                continue
            left = model.keep_alive - model.unused
            if left > 0:
                self.times.append(left)
            else:
                self._evict(model, "it was not used")

    def _wait_for_a_turn(self, model: View, victims: list[View]) -> None:
        turn = max(self._turn, LOADS_IN_A_TURN * model.load_seconds)
        left = max(turn - model.waited, *(turn - victim.stayed for victim in victims))
        if left > 0:
            self.times.append(left)
            return
        for victim in victims:
            if victim.leased:
                self.actions.append(Close(victim.name))
                self._go(victim)
            else:
                self._evict(victim, f"{model.name} has waited its turn")
        _change(self._soon, model.memory, -1)

    def _staying(self) -> list[View]:
        return [m for m in self._models if m.state == "in" and not m.pinned and m.name not in self._going]

    def _victims(self, model: View, candidates: Iterable[View]) -> list[View]:
        """Few that make room, those unused longest first, then those in longest; none when all together do not."""
        free, chosen = dict(self._soon), list[View]()
        for candidate in sorted(candidates, key=lambda m: (not m.failing, not m.idle, -m.unused, -m.stayed)):
            lacking = _lacking(model, free)
            if any(candidate.memory.get(device, 0) > 0 for device in lacking):
                chosen.append(candidate)
                _change(free, candidate.memory, 1)
        if _lacking(model, free):
            return []
        for candidate in list(chosen):  # a large one taken later may have made a small one needless
            without = dict(free)
            _change(without, candidate.memory, -1)
            if not _lacking(model, without):
                chosen.remove(candidate)
                free = without
        return chosen

    def _refuse_if_never(self, model: View) -> None:
        """A model for which there is no room though all others leave; one that only has to wait for others is left waiting."""
        free = dict(self._free)
        for other in self._models:
            if other.state != "out" and not other.pinned:
                _change(free, other.memory, 1)
        lacking = _lacking(model, free)
        if not lacking:
            return
        device = max(lacking, key=lambda name: model.memory[name] - free.get(name, 0))
        holders = tuple(m.name for m in self._models if m.pinned and m.state != "out" and m.memory.get(device))
        self.actions.append(Refuse(model.name, device, model.memory[device], max(0, free.get(device, 0)), holders))

    def _evict(self, model: View, why: str) -> None:
        self.actions.append(Evict(model.name, why))
        self._go(model)

    def _go(self, model: View) -> None:
        self._going.add(model.name)
        _change(self._soon, model.memory, 1)


def _moment(victim: View, load_seconds: float) -> float:
    """Seconds that an idle model is given before it makes room for a newcomer."""
    return min(_GAPS * victim.gap, load_seconds) if victim.gap < load_seconds else 0.0


def _lacking(model: View, free: Mapping[str, int]) -> list[str]:
    """The devices on which a model has no room."""
    return [device for device, count in model.memory.items() if count > max(0, free.get(device, 0))]


def _change(free: dict[str, int], memory: Mapping[str, int], sign: int) -> None:
    for device, count in memory.items():
        free[device] = free.get(device, 0) + sign * count
