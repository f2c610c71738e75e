"""A limit on each of many waits, such as those for the pieces of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType


class Patience:
    """A block whose waits, each between `begin` and `end`, may take `limit` seconds; a longer one ends it with `error`.

    Like `asyncio.timeout` around each wait, at the price of two assignments: a single timer looks whether a wait has lasted too
    long. All waits must be those of the task that entered the block.
    """

    def __init__(self, limit: float, error: Callable[[], Exception]):
        self._limit = limit
        self._error = error
        self._since: float | None = None
        self._expired = False

    def __enter__(self) -> Patience:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only coroutines use this
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._limit, self._look)
        return self

    def begin(self) -> None:
        self._since = self._loop.time()

    def end(self) -> None:
        self._since = None

    def _look(self) -> None:
        left = self._limit if self._since is None else self._since + self._limit - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._expired = True
            self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._error() from None
