"""The single owner of what is in memory and who may use it: leases of slots, and the models that come and go for them.

A lease is held from before the first byte of an answer until after the last one. `placement` decides which models are in,
`queue` who is next, `admission` who may wait; this module keeps their state and carries out what they decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from freehold.errors import DoesNotFit, Draining, FreeholdError, QueueFull, QueueTimeout
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment
from freehold.hardware.plan import Plan, Share
from freehold.routing import placement
from freehold.routing.admission import Load, Verdict, decide, retry_after
from freehold.routing.placement import Close, Evict, Refuse, Reopen
from freehold.routing.queue import Priority
from freehold.routing.seat import ALWAYS, Seat, Stay
from freehold.settings import MemorySettings, QueueSettings
from freehold.telemetry import log

Observe = Callable[[], Mapping[str, int]]
Needed = Callable[[Iterable[Share]], Mapping[str, int]]


def _summed(shares: Iterable[Share]) -> dict[str, int]:
    return {share.device: share.total for share in shares}


class Fleet(Protocol):
    """What carries models: a supervisor of workers."""

    async def ensure_ready(self, deployment: Deployment) -> EngineClient: ...

    async def stop(self, model: str, *, keep: bool = False) -> None: ...

    def effective(self, model: str) -> Plan | None: ...


@dataclass(frozen=True)
class Lease:
    """`client` calls the model's worker; `waited` is the seconds until the lease was given, a load included."""

    client: EngineClient
    slots: int
    waited: float


@dataclass(frozen=True)
class Terms:
    """What a request asks of its model's queue: how many slots, for whom, how soon, and how long the model shall stay."""

    need: int = 1
    tenant: str = ""
    priority: Priority = "interactive"
    stay: Stay = ALWAYS


_ONE = Terms()


class Scheduler:
    """`budget` is bytes by device for all models together, `needed` what a plan's shares take of them, `observe` what is really
    free now, where that can be known."""

    def __init__(
        self,
        queue: QueueSettings,
        fleet: Fleet,
        memory: MemorySettings | None = None,
        *,
        budget: Mapping[str, int] | None = None,
        needed: Needed = _summed,
        observe: Observe = dict,
    ):
        self._fleet = fleet
        self._seats: dict[str, Seat] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.evictions = 0
        self.configure(queue, memory or MemorySettings(), budget or {}, needed=needed, observe=observe)

    def configure(
        self, queue: QueueSettings, memory: MemorySettings, budget: Mapping[str, int], *, needed: Needed, observe: Observe
    ) -> None:
        """New limits for requests to come, and the devices that they are of."""
        self._queue, self._memory, self._budget = queue, memory, dict(budget)
        self._needed, self._observe = needed, observe

    @contextlib.asynccontextmanager
    async def lease(self, deployment: Deployment, terms: Terms = _ONE) -> AsyncIterator[Lease]:
        """Holds slots of a model that is loaded, for the length of the block.

        Raises QueueFull at once when the queue is full, QueueTimeout when the turn does not come in time, DoesNotFit when there
        is no room for the model whatever leaves, and ModelFailed when it does not load. A caller that is cancelled while it
        waits leaves the queue; a load goes on.
        """
        seat = self._seat(deployment, terms.stay)
        asked = time.monotonic()
        limit = self._queue.timeout if terms.need else None  # a load that no request waits for has its own
        try:
            async with asyncio.timeout(limit):
                need = await self._turn(seat, terms)
                started = time.monotonic()
        except TimeoutError:
            raise self._late(seat) from None
        try:
            client = await self._ready(seat, None if limit is None else asked + limit - started)
            yield Lease(client, need, time.monotonic() - asked)
        finally:
            seat.give_back(need, terms.tenant, time.monotonic() - started)
            self._after_lease(seat)

    async def load(self, deployment: Deployment, stay: Stay = ALWAYS) -> None:
        """Waits until a model is loaded, however long that takes. Raises what `lease` raises but for QueueTimeout."""
        async with self.lease(deployment, Terms(need=0, stay=stay)):
            pass

    async def unload(self, model: str) -> None:
        """Ends a model as soon as its running requests have ended, and returns when its memory is free."""
        self.dismiss(model)
        if (seat := self._seats.get(model)) is not None:
            await seat.gone.wait()

    def dismiss(self, model: str) -> None:
        """As `unload`, without waiting for it."""
        if (seat := self._seats.get(model)) is not None:
            seat.must_leave = seat.state in ("in", "loading")
            self._advance()

    def busy(self, model: str) -> int:
        """Requests that hold or await a lease."""
        seat = self._seats.get(model)
        return seat.taken + len(seat.queue) if seat else 0

    def loads(self) -> dict[str, Load]:
        return {model: seat.load() for model, seat in self._seats.items()}

    def state(self, model: str) -> placement.State:
        seat = self._seats.get(model)
        return seat.state if seat else "out"

    def stays(self, model: str) -> float | None:
        """Seconds for which a model in memory stays if nobody asks for it; None for as long as there is room."""
        seat = self._seats.get(model)
        if seat is None or seat.stay.keep_alive is None:
            return None
        view = seat.view(time.monotonic())
        return max(0.0, seat.stay.keep_alive - view.unused)

    def served(self, model: str) -> bool:
        """Whether the model has been loaded once, and has not failed since: it would be loaded again for a request."""
        seat = self._seats.get(model)
        return seat is not None and seat.proven and seat.failure is None

    def planned(self) -> dict[str, int]:
        """Bytes by device that the models in memory, or on their way in or out, are planned to take."""
        taken: dict[str, int] = {}
        for seat in self._seats.values():
            if seat.state != "out":
                for device, count in seat.memory.items():
                    taken[device] = taken.get(device, 0) + count
        return taken

    def memory(self) -> list[tuple[str, int, int]]:
        """(device, bytes for all models, bytes that those in memory are planned to take)."""
        planned = self.planned()
        return [(device, count, planned.get(device, 0)) for device, count in self._budget.items()]

    def forget(self, model: str) -> None:
        """Drops what is known of a model that is out."""
        seat = self._seats.get(model)
        if seat is not None and seat.state == "out" and not self.busy(model):
            del self._seats[model]

    async def close(self) -> None:
        """No model is loaded or ended any more, and all that wait are told; the fleet itself ends the workers."""
        self._closed = True
        for seat in self._seats.values():
            seat.refuse(_draining())
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _seat(self, deployment: Deployment, stay: Stay) -> Seat:
        seat = self._seats.get(deployment.name)
        if seat is None:
            seat = self._seats[deployment.name] = Seat(deployment, self._takes)
        if seat.deployment != deployment:
            seat.renew(deployment)
        seat.stay = stay
        seat.asked()
        return seat

    def _takes(self, shares: Iterable[Share]) -> Mapping[str, int]:
        """Bytes by device, by the settings in force: a seat outlasts them."""
        return self._needed(shares)

    async def _turn(self, seat: Seat, terms: Terms) -> int:
        """Returns how many slots were taken."""
        if self._closed:
            raise _draining()
        if failure := seat.refusal():
            raise failure
        need = min(terms.need, seat.slots)
        may_start = seat.state == "in" and not seat.must_leave and seat.has_room(need, terms.tenant)
        match decide(seat.load(), may_start, self._queue.size):
            case Verdict.START:
                seat.take(need, terms.tenant)
                return need
            case Verdict.REFUSE:
                if not seat.make_room(terms.tenant, self._full(seat)):
                    raise self._full(seat)
        waiter = seat.wait(need, terms.tenant, terms.priority)
        self._advance()
        try:
            await waiter.turn
        except BaseException:  # also a cancellation: who leaves the queue takes nothing along
            if seat.leave(waiter):  # the turn came in the very moment of leaving: it is passed on
                seat.give_back(waiter.need, terms.tenant, None)
            self._advance()
            raise
        return waiter.need

    async def _ready(self, seat: Seat, within: float | None) -> EngineClient:
        """The worker of a model that is in; it may be starting anew after a crash."""
        try:
            async with asyncio.timeout(within):
                client = await self._fleet.ensure_ready(seat.deployment)
        except TimeoutError:
            raise self._late(seat) from None
        except FreeholdError as error:
            seat.failure = error
            raise
        seat.proven, seat.failure = True, None
        return client

    def _full(self, seat: Seat) -> QueueFull:
        return QueueFull(
            f"The model is busy and its queue of {self._queue.size} is full; try again shortly.",
            retry_after=retry_after(seat.load()),
        )

    def _late(self, seat: Seat) -> QueueTimeout:
        limit = f"{self._queue.timeout:g} s"
        if seat.state == "loading":
            why = f"The model {seat.name!r} is still loading after {limit}, the limit of waiting; the load goes on."
        else:
            why = f"The request waited {limit} for its turn, which is the limit; it was not started."
        return QueueTimeout(why, retry_after=retry_after(seat.load()))

    def _after_lease(self, seat: Seat) -> None:
        """The hot path's share: the whole picture is looked at only when somebody waits for room, or has to leave in time."""
        seat.admit(time.monotonic())
        pressing = any(other.pressing for other in self._seats.values())
        if pressing or self._leaves_before_the_timer(seat):
            self._advance()

    def _leaves_before_the_timer(self, seat: Seat) -> bool:
        if seat.taken or seat.stay.keep_alive is None:
            return False
        return self._timer is None or self._timer.when() > asyncio.get_running_loop().time() + seat.stay.keep_alive

    def _advance(self) -> None:
        """Gives turns, then carries out what placement decides. Called after every change."""
        if self._closed:
            return
        now = time.monotonic()
        for seat in self._seats.values():
            seat.admit(now)
        decision = placement.decide([seat.view(now) for seat in self._seats.values()], self._free(), self._memory.turn)
        for action in decision.actions:
            self._carry_out(action)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if decision.again_in is not None:
            self._timer = asyncio.get_running_loop().call_later(decision.again_in + 0.01, self._advance)

    def _carry_out(self, action: placement.Action) -> None:
        seat = self._seats[action.name]
        match action:
            case placement.Load():
                seat.begin()
                self._begin(self._load(seat), f"load {seat.name}")
            case Evict(why=why):
                seat.state = "leaving"
                self.evictions += 1
                log("model leaves", model=seat.name, why=why)
                self._begin(self._unload(seat), f"unload {seat.name}")
            case Close():
                seat.state = "closing"
            case Reopen():
                seat.state = "in"
                seat.admit(time.monotonic())
            case Refuse():
                seat.refuse(_does_not_fit(action))

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, seat: Seat) -> None:
        began = time.monotonic()
        try:
            await self._fleet.ensure_ready(seat.deployment)
        except FreeholdError as error:
            seat.fail(error)
        else:
            seat.arrive(time.monotonic() - began, self._fleet.effective(seat.name))
        self._advance()

    async def _unload(self, seat: Seat) -> None:
        await self._fleet.stop(seat.name, keep=not seat.must_leave)  # what was told to leave is not expected back
        seat.depart()
        self._advance()

    def _free(self) -> dict[str, int]:
        """Bytes by device: what the budget leaves, and no more than is really free where that is known."""
        planned = self.planned()
        observed = self._observe() if any(seat.state == "out" and seat.queue for seat in self._seats.values()) else {}
        free = {device: count - planned.get(device, 0) for device, count in self._budget.items()}
        return {device: min(count, observed.get(device, count)) for device, count in free.items()}


def _draining() -> Draining:
    return Draining("The server is shutting down; send the request again when it is back.", retry_after=5.0)


def _does_not_fit(refused: Refuse) -> DoesNotFit:
    held = f" ({', '.join(refused.holders)} must stay)" if refused.holders else ""
    return DoesNotFit(
        f"The model {refused.name!r} does not fit: it needs {_gib(refused.needed)} on {refused.device}, "
        f"and {_gib(refused.could_be_free)} could be free{held}."
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
