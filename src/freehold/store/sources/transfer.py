"""What every attempt at some bytes has in common: its limits, what an answer says, and when to try again."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from freehold.errors import SourceUnreachable, StoreError
from freehold.store.sources.web import Broken, Refused, why

PIECE = 1 << 18
KEPT = "Try again; what was downloaded is kept."


@dataclass(frozen=True)
class Limits:
    """How hard a download tries. Times in seconds, `slowest` in bytes a second over `window`, `chunk` in bytes (None: by size).

    `attempts` may fail one after the other without a byte gained; a server that asks to wait longer than `patience` is left.
    """

    connections: int = 4
    chunk: int | None = None
    attempts: int = 5
    silence: float = 30.0
    window: float = 30.0
    slowest: int = 1024
    patience: float = 120.0
    backoff: float = 0.25

    def chunk_of(self, total: int) -> int:
        """Bytes of a chunk: some for each connection, large enough that its request costs little."""
        return self.chunk or min(max(total // (4 * self.connections) + 1, 4 << 20), 64 << 20)


LIMITS = Limits()


class Anew(Broken):
    """The bytes that are here cannot be added to: the file changed there, or the server sends it as a whole only."""


class Slow(Broken):
    """Bytes come, but so few that another connection is the better bet."""


class Tries:
    """Attempts that may fail, so many in a row. `again` is around each: it swallows what may pass, waits, and counts."""

    def __init__(self, limits: Limits, host: str, stop: threading.Event | None = None):
        self._limits = limits
        self._host = host
        self._stop = stop or threading.Event()
        self._failures = 0
        self._slow = 0

    def gained(self) -> None:
        """A byte came: what failed before does not count."""
        self._failures = 0

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Raises SourceUnreachable after the last attempt, and for what no attempt will mend; Anew is for the caller."""
        try:
            yield
        except Refused as refused:
            if refused.status == 416:
                raise Anew("the file changed there") from None
            if not busy(refused):
                raise _final(refused) from None
            self._wait(str(refused), refused.after)
        except Anew:
            raise
        except Slow as slow:
            self._slow += 1
            self._failures = max(self._failures, self._slow - 1)
            self._wait(str(slow), 0.0)
        except Broken as broken:
            self._wait(str(broken), None)

    def _wait(self, reason: str, after: float | None) -> None:
        self._failures += 1
        if after is not None and after > self._limits.patience:
            raise SourceUnreachable(f"{self._host} asks to come back in {after:.0f} seconds ({reason}).", KEPT)
        if self._failures >= self._limits.attempts:
            raise SourceUnreachable(f"The download from {self._host} broke off: {reason}.", KEPT)
        pause = min(self._limits.backoff * 2**self._failures, 10.0) * random.uniform(0.8, 1.2)  # noqa: S311
        self._stop.wait(after if after is not None else pause)


def busy(refused: Refused) -> bool:
    """Whether the server may answer the same request better later."""
    return refused.status in (408, 425, 429) or refused.status >= 500


def _final(refused: Refused) -> StoreError:
    match refused.status:
        case 401 | 403:
            return SourceUnreachable(f"{refused}.", "It wants a login, or this login may not have it. Check the address.")
        case 404 | 410:
            return SourceUnreachable(f"{refused}.", "There is no such file; check the address.")
    return SourceUnreachable(f"{refused}.", "Check the address.")


def pieces(response: Any, count: int, limits: Limits) -> Iterator[bytes]:
    """At most `count` bytes of a body. Raises Broken when it ends early or falls silent, Slow when it trickles."""
    since, got = time.monotonic(), 0
    while count:
        try:
            piece = response.read1(min(PIECE, count))
        except (TimeoutError, OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            raise Broken(why(error)) from None
        if not piece:
            raise Broken("the connection was closed")
        yield piece
        count -= len(piece)
        got += len(piece)
        if (now := time.monotonic()) - since >= limits.window:
            if got < limits.slowest * limits.window:
                raise Slow(f"it sends fewer than {limits.slowest} bytes a second")
            since, got = now, 0


def length_of(response: Any) -> int:
    """Content-Length, 0 where there is none."""
    text = response.headers.get("Content-Length") or ""
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0


def strong_etag(response: Any) -> str:
    """The ETag that vouches for bytes, or nothing."""
    etag: str = response.headers.get("ETag", "")
    return etag if len(etag) < 500 and re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else ""


def range_of(response: Any) -> tuple[int, int] | None:
    """First byte and whole size, as a 206 says; None for an answer with the whole file. (-1, -1) where it makes no sense."""
    if response.status != 206:
        return None
    found = re.fullmatch(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})", response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2])) if found else (-1, -1)
