"""Requests that a newer one makes worthless: an editor asks again with each key, and only its last question matters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from freehold.errors import Conflict
from freehold.protocol.fim.fill import Fill, same_place


@dataclass(eq=False)
class Claim:
    """A request that is being answered, in its task."""

    asked: Fill
    task: asyncio.Task[object]
    superseded: bool = False

    def supersede(self) -> None:
        if not self.superseded:
            self.superseded = True
            self.task.cancel()

    def settle(self) -> None:
        """For who caught the task's cancellation: raises Conflict when a newer request was its cause, else goes on with it."""
        if not self.superseded:
            raise asyncio.CancelledError
        self.task.uncancel()
        raise Conflict("A newer request of the same editor took its place.", code="superseded")


@dataclass
class Newest:
    """The running requests by whose they are. Two that ask the same stand beside each other, as do those for other places."""

    _claims: dict[bytes, list[Claim]] = field(default_factory=dict)

    @contextlib.contextmanager
    def claimed(self, key: bytes, asked: Fill) -> Iterator[Claim]:
        """The calling task's claim for the length of the block; those before it of the same key and place end."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only coroutines use this
        claim = Claim(asked, task)
        running = self._claims.setdefault(key, [])
        for other in running:
            if other.asked != asked and same_place(other.asked, asked):
                other.supersede()
        running.append(claim)
        try:
            yield claim
        finally:
            running.remove(claim)
            if not running and self._claims.get(key) is running:
                del self._claims[key]
