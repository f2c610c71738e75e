"""The chunks of one file, fetched by several threads at a time.

One owner for each piece of state: which chunk is whose, and how far each is, change under one lock.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from freehold.store import disk
from freehold.store.sources.journal import Journal, State
from freehold.store.sources.transfer import PIECE, Anew, Limits, Tries, busy, length_of, pieces, range_of, strong_etag
from freehold.store.sources.web import Broken, Refused

_LOOK = 0.1  # seconds; short, so that Ctrl-C is heard
_LEAVE = 2.0  # seconds that a thread gets to see that it is over


class Ask(Protocol):
    """Asks for bytes `begin` to before `end` of the version of that ETag."""

    def __call__(self, begin: int, end: int, etag: str) -> Any: ...


class _Stopped(Exception):
    """It is over: an error elsewhere, or Ctrl-C."""


class Chunks:
    """Fetches what a state lacks into a file. `gained` hears of each piece."""

    def __init__(
        self,
        part: Path,
        state: State,
        journal: Journal,
        *,
        ask: Ask,
        host: str,
        limits: Limits,
        gained: Callable[[int], None],
    ):
        self._part = part
        self._state = state
        self._journal = journal
        self._ask = ask
        self._host = host
        self._limits = limits
        self._gained = gained
        self._pending = [number for number in range(state.count) if number not in state.done]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._alive: set[threading.Thread] = set()
        self._error: BaseException | None = None

    def run(self, first: Any = None) -> None:
        """Fetches all. `first` is a response that begins with the file's first byte. Raises what failed."""
        threads = []
        whole = first is not None and range_of(first) is None
        ranged = min(self._limits.connections, len(self._pending)) if self._state.etag and not whole else 0
        if first is not None:
            threads.append(threading.Thread(target=self._guarded, args=(lambda: self._from_the_front(first),), daemon=True))
            ranged = min(ranged, self._limits.connections - 1, len(self._pending) - 1)
        threads += [threading.Thread(target=self._guarded, args=(self._from_the_back,), daemon=True) for _ in range(ranged)]
        self._alive = set(threads)
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(_LOOK)
                    with self._lock:
                        self._gained(0)  # while nothing comes, the rate falls
        finally:
            with self._lock:
                self._stop.set()
            for thread in threads:
                thread.join(_LEAVE)
        if self._error is not None:
            raise self._error
        if self._pending or len(self._state.done) < self._state.count:
            raise Anew("it was left incomplete")

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits, and raised there
            with self._lock:
                self._error = self._error or error
                self._stop.set()
        finally:
            with self._lock:
                self._alive.discard(threading.current_thread())

    def _from_the_front(self, response: Any) -> None:
        """Reads the first answer to its end; then goes on as the others do."""
        with response:
            number, end = 0, length_of(response)
            while self._state.span(number)[0] < end and self._claim(number):
                try:
                    self._chunk(number, lambda at, end: response)
                except Broken as broken:
                    if not self._state.etag:
                        raise Anew(str(broken)) from None
                    self._release(number)
                    break
                number += 1
        if self._state.etag:
            self._from_the_back()

    def _from_the_back(self) -> None:
        tries = Tries(self._limits, self._host, self._stop)
        while (number := self._claim_last()) is not None:
            with tries.again():
                try:
                    self._chunk(number, self._ranged, tries)
                    continue
                except Refused as refused:
                    self._release(number)
                    if busy(refused) and self._leave():
                        return
                    raise
                except Broken:
                    self._release(number)
                    raise
                except _NoRanges:
                    self._release(number)
                    if self._leave():
                        return
                    raise Anew("it sends the file as a whole only") from None

    def _leave(self) -> bool:
        """Whether other workers go on without this one: a busy server is asked by fewer."""
        with self._lock:
            if len(self._alive) > 1:
                self._alive.discard(threading.current_thread())
                return True
        return False

    def _ranged(self, at: int, end: int) -> Any:
        response = self._ask(at, end, self._state.etag)
        place, same = range_of(response), strong_etag(response) == self._state.etag
        if place is None:
            response.close()
            if same and length_of(response) == self._state.total:
                raise _NoRanges
            raise Anew("the file changed there")
        if place != (at, self._state.total) or not same:
            response.close()
            raise Anew("the file changed there")
        return response

    def _chunk(self, number: int, respond: Callable[[int, int], Any], tries: Tries | None = None) -> None:
        """Fetches a chunk from where it stands. Raises Broken with what came kept."""
        begin, end = self._state.span(number)
        handle = os.open(self._part, os.O_RDWR)
        try:
            at = begin + self._state.at.get(number, 0)
            digest = _digest_of(handle, begin, at)
            told = at
            response = respond(at, end)
            try:
                for piece in pieces(response, end - at, self._limits):
                    self._put(handle, piece, at)
                    digest.update(piece)
                    at += len(piece)
                    if tries is not None:
                        tries.gained()
                    if at - told >= PIECE:
                        self._tell(number, at - begin)
                        told = at
            finally:
                if tries is not None:  # else it is the first answer, which goes on
                    response.close()
                if at > told:
                    self._tell(number, at - begin)
            with self._lock, disk.translated():
                self._check()
                self._state.done[number] = digest.hexdigest()
                self._journal.finished(number, digest.hexdigest())
        finally:
            os.close(handle)

    def _put(self, handle: int, piece: bytes, at: int) -> None:
        self._check()
        view = memoryview(piece)
        with disk.translated():
            while view:  # a disk that is nearly full takes a part
                count = os.pwrite(handle, view, at)
                view, at = view[count:], at + count
        with self._lock:
            self._gained(len(piece))

    def _tell(self, number: int, count: int) -> None:
        with self._lock, disk.translated():
            if not self._stop.is_set():
                self._state.at[number] = count
                self._journal.grew(number, count)

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _claim(self, number: int) -> bool:
        with self._lock:
            if number not in self._pending or self._stop.is_set():
                return False
            self._pending.remove(number)
            return True

    def _claim_last(self) -> int | None:
        with self._lock:
            return self._pending.pop() if self._pending and not self._stop.is_set() else None

    def _release(self, number: int) -> None:
        with self._lock:
            self._pending.append(number)
            self._pending.sort()


class _NoRanges(Exception):
    """The server answers a request for a range with the whole file, unchanged."""


def _digest_of(handle: int, begin: int, end: int) -> Any:
    """The running digest of bytes that are in the file already."""
    digest = hashlib.sha256()
    while begin < end:
        piece = os.pread(handle, min(PIECE, end - begin), begin)
        if not piece:
            raise Anew("what was downloaded is gone from the disk")
        digest.update(piece)
        begin += len(piece)
    return digest
