"""Threads that do the most urgent work first."""

from __future__ import annotations

import enum
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Urgency(enum.IntEnum):
    """Who waits for it: somebody who has just finished speaking, somebody who still speaks, somebody with a file."""

    SPOKEN = 0
    SPEAKING = 1
    FILE = 2


_FIRST = -1  # more urgent than anything


def _end() -> None:
    """What a thread is given to end it."""


class Threads:
    """`submit` is for any thread. What is equally urgent is done in the order in which it came."""

    def __init__(self, threads: int, name: str):
        self._work: queue.PriorityQueue[tuple[int, int, Future[Any], Callable[[], Any]]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._run, name=f"{name} {number}", daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, urgency: Urgency, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._work.put((urgency, next(self._numbers), future, work))
        return future

    def close(self) -> None:
        """Ends the threads when what they are at is done; what waits is never done. A thread that is in an engine must not be
        there when Python ends."""
        for _ in self._threads:
            self._work.put((_FIRST, next(self._numbers), Future(), _end))
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            _, _, future, work = self._work.get()
            if work is _end:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
                future.set_exception(error)
            del future, work  # it would keep the samples until the next work comes
