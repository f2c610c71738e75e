"""The order in which waiting requests get their turn: by priority, then fairly between tenants, then first come first served.

Urgent requests (somebody waits in the middle of a word) go before interactive ones, and those before batch requests, but every
twentieth turn goes the other way round: a batch request is slow, never starved. Among the tenants of a priority turns go round;
a tenant with a hundred requests is no sooner served than one with one. Nor does it keep others out of a full queue: who has
fewer waiting takes the place of the newest of who has the most.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Priority = Literal["urgent", "interactive", "batch"]
_BATCH_EVERY = 20


@dataclass(eq=False)
class Waiter:
    """A request in the queue: the slots it needs (0: only that the model be loaded), and since when (monotonic seconds)."""

    turn: asyncio.Future[None]
    need: int
    since: float
    tenant: str = ""
    priority: Priority = "interactive"


@dataclass
class _Line:
    """The tenants of one priority, in the order of their next turns."""

    tenants: collections.OrderedDict[str, collections.deque[Waiter]] = field(default_factory=collections.OrderedDict)

    def __iter__(self) -> Iterator[Waiter]:
        for waiters in self.tenants.values():
            yield from waiters

    def add(self, waiter: Waiter) -> None:
        self.tenants.setdefault(waiter.tenant, collections.deque()).append(waiter)

    def remove(self, waiter: Waiter) -> bool:
        waiters = self.tenants.get(waiter.tenant, collections.deque())
        if waiter not in waiters:
            return False
        waiters.remove(waiter)
        if not waiters:
            del self.tenants[waiter.tenant]
        return True

    def served(self, waiter: Waiter) -> None:
        """Takes a waiter out; its tenant's next turn comes after those of all others."""
        self.remove(waiter)
        if waiter.tenant in self.tenants:
            self.tenants.move_to_end(waiter.tenant)


class Queue:
    """The requests that wait for one model. Adding, leaving and the next turn cost no more than there are tenants."""

    def __init__(self) -> None:
        self._lines: dict[Priority, _Line] = {"urgent": _Line(), "interactive": _Line(), "batch": _Line()}
        self._length = 0
        self._turns = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Waiter]:
        for line in self._lines.values():
            yield from line

    def add(self, waiter: Waiter) -> None:
        self._lines[waiter.priority].add(waiter)
        self._length += 1

    def leave(self, waiter: Waiter) -> None:
        """Takes out a waiter that does not want its turn any more; one that is not here is no error."""
        if self._lines[waiter.priority].remove(waiter):
            self._length -= 1

    def crowd(self, tenant: str) -> Waiter | None:
        """Who makes room for a newcomer of `tenant` in a full queue: the newest of the tenant that has the most waiting, batch
        requests first. None when nobody would be left with as many as the newcomer's tenant then has."""
        counts: collections.Counter[str] = collections.Counter()
        for line in self._lines.values():
            counts.update({name: len(waiters) for name, waiters in line.tenants.items()})
        largest, most = max(counts.items(), key=lambda item: item[1], default=("", 0))
        if most <= counts[tenant] + 1:
            return None
        line = next(line for line in reversed(self._lines.values()) if largest in line.tenants)
        return line.tenants[largest][-1]

    def heads(self) -> Iterator[Waiter]:
        """The first request of each tenant, in the order of their turns."""
        lines = [*self._lines.values()]
        if self._turns % _BATCH_EVERY == _BATCH_EVERY - 1:
            lines.reverse()
        for line in lines:
            for waiters in line.tenants.values():
                yield waiters[0]

    def served(self, waiter: Waiter) -> None:
        self._lines[waiter.priority].served(waiter)
        self._length -= 1
        self._turns += 1

    def oldest(self) -> float | None:
        """Since when the one that has waited longest does (monotonic seconds)."""
        return min((waiter.since for waiter in self), default=None)
