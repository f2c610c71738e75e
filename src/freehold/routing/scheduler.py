"""Leases: the right to use a model's slots, held from before the first byte until after the last one."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from freehold.errors import QueueFull, QueueTimeout
from freehold.routing.admission import Load, Verdict, decide, retry_after
from freehold.settings import QueueSettings

_SMOOTHING = 0.2


@dataclass(frozen=True)
class Lease:
    """`waited` is the seconds spent in the queue."""

    slots: int
    waited: float


class _Gate:
    """One model's slots and its queue, first in first out."""

    def __init__(self, slots: int):
        self.slots = slots
        self.taken = 0
        self.waiting: collections.deque[tuple[asyncio.Future[None], int]] = collections.deque()
        self.usual_seconds = 1.0

    def load(self) -> Load:
        return Load(self.slots, self.taken, len(self.waiting), self.usual_seconds)

    def give_back(self, slots: int, held: float) -> None:
        self.taken -= slots
        self.usual_seconds += _SMOOTHING * (held - self.usual_seconds)
        self.admit()

    def admit(self) -> None:
        while self.waiting:
            future, need = self.waiting[0]
            if not future.done() and self.taken + need > self.slots:
                return
            self.waiting.popleft()
            if not future.done():
                self.taken += need
                future.set_result(None)


class Scheduler:
    """The single owner of every model's queue."""

    def __init__(self, queue: QueueSettings):
        self._queue = queue
        self._gates: dict[str, _Gate] = {}

    @contextlib.asynccontextmanager
    async def lease(self, model: str, slots: int, need: int = 1) -> AsyncIterator[Lease]:
        """Holds `need` of a model's `slots` for the length of the block.

        Raises QueueFull at once when the queue is full, QueueTimeout when the turn does not come in time. A caller that is
        cancelled while it waits leaves the queue.
        """
        gate = self._gates.get(model)
        if gate is None:
            gate = self._gates[model] = _Gate(slots)
        need = min(need, gate.slots)
        asked = time.monotonic()
        await self._turn(gate, need)
        started = time.monotonic()
        try:
            yield Lease(need, started - asked)
        finally:
            gate.give_back(need, time.monotonic() - started)

    def busy(self, model: str) -> int:
        """Requests that hold or await a lease."""
        gate = self._gates.get(model)
        return gate.taken + len(gate.waiting) if gate else 0

    def loads(self) -> dict[str, Load]:
        return {model: gate.load() for model, gate in self._gates.items()}

    def forget(self, model: str) -> None:
        """Drops an idle model's queue, so that it may come back with other slots."""
        if not self.busy(model):
            self._gates.pop(model, None)

    async def _turn(self, gate: _Gate, need: int) -> None:
        match decide(gate.load(), need, self._queue.size):
            case Verdict.START:
                gate.taken += need
                return
            case Verdict.REFUSE:
                raise QueueFull(
                    f"The model is busy and its queue of {self._queue.size} is full; try again shortly.",
                    retry_after=retry_after(gate.load()),
                )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gate.waiting.append((turn, need))
        try:
            async with asyncio.timeout(self._queue.timeout):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # the turn came in the very moment of leaving: pass it on
                gate.taken -= need
            else:
                with contextlib.suppress(ValueError):
                    gate.waiting.remove((turn, need))
            gate.admit()
            if isinstance(error, TimeoutError):
                raise QueueTimeout(
                    f"The request waited {self._queue.timeout:g} s for its turn, which is the limit; it was not started.",
                    retry_after=retry_after(gate.load()),
                ) from None
            raise
