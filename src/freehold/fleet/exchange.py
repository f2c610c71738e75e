"""One HTTP/1.1 request to a worker and its response, on a connection of its own. The hot path of every streamed token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import httptools

from freehold.errors import EngineBadResponse, FreeholdError, WorkerDied

_MOST_HEAD = 64 * 1024  # bytes of status line and headers
_MOST_HELD = 256 * 1024  # bytes that wait for a slow reader before the worker is made to wait


class Exchange(asyncio.Protocol):
    """Bytes out, bytes in. What has arrived before a failure is still read; then the failure is raised.

    `head` and `read` raise WorkerDied when the worker goes away, EngineBadResponse for what is not HTTP. The methods without a
    docstring are those that asyncio and the parser call.
    """

    def __init__(self, request: bytes):
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._head = 0
        self._status = 0
        self._complete = False
        self._failure: FreeholdError | None = None

    @classmethod
    async def begin(cls, socket: Path, method: str, path: str, body: bytes = b"") -> Exchange:
        """Connects and sends the request. Raises WorkerDied when nobody listens."""
        head = f"{method} {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        request = f"{head}Content-Type: application/json\r\n\r\n".encode("ascii") + body
        try:
            _, exchange = await asyncio.get_running_loop().create_unix_connection(lambda: cls(request), str(socket))
        except OSError:
            raise _gone(reached=False) from None
        return exchange

    async def head(self) -> int:
        """The response's status."""
        while not self._status and self._failure is None:
            await self._wait()
        if not self._status and self._failure is not None:
            raise self._failure
        return self._status

    async def read(self) -> bytes:
        """What has arrived of the body, at least a byte; b"" at its end."""
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._complete:
                return b""
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        if self._held > _MOST_HELD and self._transport is not None:
            self._transport.resume_reading()
        self._held = 0
        return data

    def close(self) -> None:
        """Ends the connection, which tells a worker that still answers to stop."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: FreeholdError) -> None:
        if not self._complete and self._failure is None:
            self._failure = failure
            self._wake()
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        if self._complete or self._failure is not None:
            return
        if not self._status:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(EngineBadResponse("The model's worker sent something that is not HTTP."))
        if not self._status and self._head > _MOST_HEAD:
            self._fail(EngineBadResponse("The model's worker sent headers without end."))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        begun = "The model's worker ended in the middle of its answer."
        self._fail(WorkerDied(begun, reached=True) if self._status else _gone(reached=True))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._wake()

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        before, self._held = self._held, self._held + len(piece)
        if before <= _MOST_HELD < self._held and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        self._complete = True
        self._wake()


def _gone(*, reached: bool) -> WorkerDied:
    return WorkerDied("The model's worker is gone; it is being restarted.", reached=reached)


async def whole(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """All that `read` gives until its b""."""
    pieces = []
    while piece := await read():
        pieces.append(piece)
    return b"".join(pieces)
