"""One model's seat in the scheduler: whether it is in memory, who holds its slots, who waits for them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from freehold.errors import FreeholdError
from freehold.fleet.engines import Deployment
from freehold.hardware.plan import Plan, Share
from freehold.routing.admission import Load
from freehold.routing.placement import State, View
from freehold.routing.queue import Priority, Queue, Waiter

_SMOOTHING = 0.2
_LONGEST_GAP = 60.0  # seconds
_PAUSE = 10.0  # seconds before a model that failed, and had to make room, is tried again
_TENANT_SEEN = 60.0  # seconds after its last request in which a tenant counts as active


@dataclass(frozen=True)
class Stay:
    """How long a model stays loaded without a request, in seconds, None for as long as there is room; a pinned one stays."""

    keep_alive: float | None = None
    pinned: bool = False


ALWAYS = Stay()


def lasting(keep_alive: float) -> float | None:
    """A setting or a request's keep_alive, in which -1 is for as long as there is room."""
    return None if keep_alive < 0 else keep_alive


class Seat:
    """Written by the scheduler alone. Times are monotonic seconds."""

    def __init__(self, deployment: Deployment, needed: Callable[[Iterable[Share]], Mapping[str, int]]):
        self.deployment = deployment
        self._needed = needed
        self.memory = needed(deployment.plan.memory)
        self.stay = ALWAYS
        self.state: State = "out"
        self.slots = deployment.slots
        self.taken = 0
        self.queue = Queue()
        self.must_leave = False
        self.gone = asyncio.Event()
        self.gone.set()
        self.load_seconds = 1.0  # until it is known
        self.proven = False
        self.failure: FreeholdError | None = None
        self._retry_at = 0.0
        self._next: Deployment | None = None
        self._held: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._usual_seconds = 1.0
        self._gap = _LONGEST_GAP
        self._asked_at = -math.inf
        self._used_at = self._arrived_at = time.monotonic()

    @property
    def name(self) -> str:
        return self.deployment.name

    @property
    def pressing(self) -> bool:
        """Whether more than its own queue depends on what happens here."""
        return self.must_leave or self.state == "closing" or (self.state == "out" and len(self.queue) > 0)

    def load(self) -> Load:
        return Load(self.slots, self.taken, len(self.queue), self._usual_seconds)

    def view(self, now: float) -> View:
        oldest = self.queue.oldest()
        busy = self.taken > 0 or oldest is not None
        devices = frozenset(device for device in self.memory if device != "host") or frozenset({"host"})
        if self.deployment.remote is not None and not self.deployment.plan.memory:
            devices = frozenset()  # what is loaded elsewhere keeps nothing here busy
        return View(
            name=self.name,
            memory=self.memory,
            devices=devices,
            state=self.state,
            leased=self.taken,
            waiting=len(self.queue),
            waited=0.0 if oldest is None else now - oldest,
            unused=0.0 if busy else now - self._used_at,
            stayed=now - self._arrived_at,
            keep_alive=self.stay.keep_alive,
            pinned=self.stay.pinned,
            must_leave=self.must_leave,
            failing=self.failure is not None,
            load_seconds=self.load_seconds,
            gap=self._gap,
        )

    def renew(self, deployment: Deployment) -> None:
        """Another version of the model: it replaces this one when the requests of this one have ended."""
        if self.state == "out":
            self._become(deployment)
        else:
            self._next, self.must_leave = deployment, True

    def asked(self) -> None:
        """Somebody wants this model."""
        now = time.monotonic()
        gap = min(now - self._asked_at, _LONGEST_GAP)
        # The first gap is worth more than the guess: ten requests at once are no sign of a model that is seldom used.
        self._gap = gap if self._gap == _LONGEST_GAP else self._gap + _SMOOTHING * (gap - self._gap)
        self._asked_at = now

    def refusal(self) -> FreeholdError | None:
        """Why a request need not wait: the model failed to load a moment ago."""
        if self.failure is not None and self.state == "out" and time.monotonic() < self._retry_at:
            return self.failure
        return None

    def has_room(self, need: int, tenant: str) -> bool:
        """Whether the slots are free. While tenants are active that hold none, the last slot is kept for them."""
        free = self.slots - self.taken
        kept = self.slots > 1 and tenant in self._held and not self._seen.keys() <= self._held.keys()
        return need == 0 or need <= free - int(kept)

    def take(self, need: int, tenant: str) -> None:
        self._used_at = time.monotonic()
        if need:  # else only the load was asked for
            self.taken += need
            self._held[tenant] = self._held.get(tenant, 0) + need
            self._seen[tenant] = self._used_at

    def give_back(self, need: int, tenant: str, held: float | None) -> None:
        """`held` is the seconds for which the slots were used; None when they were not."""
        self.taken -= need
        left = self._held.get(tenant, 0) - need
        if left > 0:
            self._held[tenant] = left
        else:
            self._held.pop(tenant, None)
        self._used_at = time.monotonic()
        if held is not None and need:
            self._usual_seconds += _SMOOTHING * (held - self._usual_seconds)

    def wait(self, need: int, tenant: str, priority: Priority) -> Waiter:
        now = time.monotonic()
        if need:
            self._seen[tenant] = now
        waiter = Waiter(asyncio.get_running_loop().create_future(), need, now, tenant, priority)
        self.queue.add(waiter)
        return waiter

    def make_room(self, tenant: str, error: FreeholdError) -> bool:
        """Whether somebody who has more waiting than `tenant` left a full queue for it, and was told why."""
        waiter = self.queue.crowd(tenant)
        if waiter is None:
            return False
        self._dismiss(waiter, error)
        return True

    def leave(self, waiter: Waiter) -> bool:
        """Whether the waiter that leaves had its turn already."""
        if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
            return True
        self.queue.leave(waiter)
        return False

    def admit(self, now: float) -> None:
        """Gives turns as long as there are slots for whoever is next; one that needs more than are free holds up the rest."""
        if self.state != "in" or self.must_leave:
            return
        self._seen = {tenant: when for tenant, when in self._seen.items() if now - when < _TENANT_SEEN}
        while (waiter := self._eligible()) is not None:
            self.queue.served(waiter)
            if not waiter.turn.done():
                waiter.need = min(waiter.need, self.slots)  # a model may have been loaded with fewer than were planned
                self.take(waiter.need, waiter.tenant)
                waiter.turn.set_result(None)

    def begin(self) -> None:
        self.state = "loading"
        self.gone.clear()

    def arrive(self, seconds: float, plan: Plan | None) -> None:
        """The model is loaded, by a plan that may be smaller than its deployment's: the engine met the end of memory."""
        if plan is not None:
            self.slots, self.memory = plan.slots, self._needed(plan.memory)
        self.state, self.load_seconds, self.proven, self.failure = "in", seconds, True, None
        self._used_at = self._arrived_at = time.monotonic()

    def fail(self, error: FreeholdError) -> None:
        """The model does not load, and all that wait are told why. It keeps its place, where it is tried again after a pause,
        but is the first to go when another needs that."""
        self.state, self.failure = "in", error
        self._arrived_at = time.monotonic()
        self.refuse(error)

    def refuse(self, error: FreeholdError) -> None:
        """Tells all that wait."""
        for waiter in list(self.queue):
            self._dismiss(waiter, error)

    def _dismiss(self, waiter: Waiter, error: FreeholdError) -> None:
        self.queue.leave(waiter)
        if not waiter.turn.done():
            waiter.turn.set_exception(error)

    def depart(self) -> None:
        """The model has left. One that did not load is not tried again at once: others were needed more."""
        self.state, self.must_leave = "out", False
        if self.failure is not None:
            self._retry_at = time.monotonic() + max(self.failure.retry_after or 0.0, _PAUSE)
        self.gone.set()
        self._become(self._next or self.deployment)

    def _become(self, deployment: Deployment) -> None:
        if deployment is not self.deployment:
            self.failure = None
        self.deployment, self._next = deployment, None
        self.slots, self.memory = deployment.slots, self._needed(deployment.plan.memory)

    def _eligible(self) -> Waiter | None:
        """Who is next. A request that needs more slots than are free holds up the rest; one whose tenant may have no more does
        not."""
        for waiter in self.queue.heads():
            need = min(waiter.need, self.slots)
            if self.has_room(need, waiter.tenant):
                return waiter
            if need > self.slots - self.taken:
                return None
        return None
