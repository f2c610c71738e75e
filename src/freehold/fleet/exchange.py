"""One HTTP/1.1 request to a worker and its response, on a connection of its own. The hot path of every streamed token."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import httptools

from freehold.errors import EngineBadResponse, FreeholdError, WorkerDied

_MOST_HEAD = 64 * 1024  # bytes of status line and headers
_CONNECT = 10.0  # seconds until a connection over the network stands
_PIECE = 1 << 20  # bytes of a file that are read and sent at once
_MOST_BODY = 256 << 20  # bytes of an answer that is held as a whole
_GONE = "The model's worker is gone; it is being restarted."
_MOST_HELD = 256 * 1024  # bytes that wait for a slow reader before the worker is made to wait


@dataclass(frozen=True)
class Span:
    """Bytes of an open file."""

    file: BinaryIO
    start: int
    size: int


@dataclass(frozen=True)
class Upload:
    """A body that is too large to hold. Files are read where they stand, so that it can be sent twice; `digest` tells it from
    others."""

    content_type: str
    segments: tuple[bytes | Span, ...]
    digest: bytes = b""

    def __len__(self) -> int:
        return sum(segment.size if isinstance(segment, Span) else len(segment) for segment in self.segments)


@dataclass(frozen=True)
class Place:
    """Where an engine listens that is no worker of ours: a host and a port, or a unix socket. `shown` is what people know it
    by, `head` the header lines of every request to it, among them its key."""

    shown: str
    host: str = ""
    port: int = 0
    socket: Path | None = None
    tls: ssl.SSLContext | None = None
    head: str = field(default="", repr=False)


class Exchange(asyncio.Protocol):
    """Bytes out, bytes in. What has arrived before a failure is still read; then the failure is raised.

    `head` and `read` raise WorkerDied when the worker goes away, EngineBadResponse for what is not HTTP. The methods without a
    docstring are those that asyncio and the parser call.
    """

    def __init__(self, request: bytes, place: Path | Place):
        self._request = request
        self._who = "The external engine" if isinstance(place, Place) else "The model's worker"
        self._gone = "The external engine broke the connection." if isinstance(place, Place) else _GONE
        self._parser = httptools.HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._head = 0
        self._status = 0
        self.content_type = ""
        self.retry_after: float | None = None
        self.peer = ""
        self._framed = False  # the body's end can be told from its bytes
        self._writable = asyncio.Event()
        self._writable.set()
        self._complete = False
        self._failure: FreeholdError | None = None

    @classmethod
    async def begin(cls, place: Path | Place, method: str, path: str, body: bytes | Upload = b"") -> Exchange:
        """Connects and sends the request. Raises WorkerDied when nobody listens, or nobody who can be trusted."""
        kind = body.content_type if isinstance(body, Upload) else "application/json"
        own = place.head if isinstance(place, Place) else "Host: worker\r\n"
        head = f"{method} {path} HTTP/1.1\r\n{own}Connection: close\r\nContent-Length: {len(body)}\r\n"
        request = f"{head}Content-Type: {kind}\r\n\r\n".encode("ascii") + (b"" if isinstance(body, Upload) else body)
        try:
            exchange = await cls._connected(place, request)
        except (OSError, UnicodeError) as error:  # the second is of a host's name
            told = f"{place.shown} cannot be reached: {_why(error)}." if isinstance(place, Place) else _GONE
            raise WorkerDied(told, reached=False) from None
        if isinstance(body, Upload):
            await exchange._upload(body)
        return exchange

    @classmethod
    async def _connected(cls, place: Path | Place, request: bytes) -> Exchange:
        """Raises OSError, UnicodeError."""
        loop = asyncio.get_running_loop()
        path = place if isinstance(place, Path) else place.socket
        if path is not None:
            return (await loop.create_unix_connection(lambda: cls(request, place), str(path)))[1]
        assert isinstance(place, Place)  # noqa: S101 - a path is a socket
        async with asyncio.timeout(_CONNECT):
            return (await loop.create_connection(lambda: cls(request, place), place.host, place.port, ssl=place.tls))[1]

    async def _upload(self, body: Upload) -> None:
        """Sends a body as fast as the worker takes it; stops when it has answered, or is gone. Closes when it cannot go on."""
        try:
            for segment in body.segments:
                if isinstance(segment, bytes):
                    await self._write(segment)
                    continue
                for start in range(0, segment.size, _PIECE):
                    size = min(_PIECE, segment.size - start)
                    piece = await asyncio.to_thread(os.pread, segment.file.fileno(), size, segment.start + start)
                    if not await self._write(piece):
                        return
        except BaseException:  # also a cancellation: nobody else has this connection yet
            self.close()
            raise

    async def _write(self, piece: bytes) -> bool:
        """Whether the worker still listens."""
        await self._writable.wait()
        if self._transport is None or self._status or self._failure is not None:
            return False
        self._transport.write(piece)
        return True

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
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        if self._complete or self._failure is not None:
            return
        if not self._status:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(EngineBadResponse(f"{self._who} sent something that is not HTTP."))
        if not self._status and self._head > _MOST_HEAD:
            self._fail(EngineBadResponse(f"{self._who} sent headers without end."))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        if self._status and not self._framed and error is None:  # RFC 9112, section 6.3: it lasts until the connection ends
            self.on_message_complete()
        begun = f"{self._who} ended in the middle of its answer."
        self._fail(WorkerDied(begun if self._status else self._gone, reached=True))

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-type":
                self.content_type = value.decode("latin-1")
            case b"retry-after":  # the form with a date is for those who keep a calendar
                self.retry_after = min(float(value), 3600.0) if value.isdigit() and len(value) < 10 else None
            case b"content-length" | b"transfer-encoding":
                self._framed = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # a word in advance: the answer follows
            self._framed = False
            return
        self._status = status
        self._wake()

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        before, self._held = self._held, self._held + len(piece)
        if before <= _MOST_HELD < self._held and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True
            self._wake()


def _why(error: OSError | UnicodeError) -> str:
    """Why there is no connection, as a clause."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate cannot be verified ({error.verify_message.rstrip('.')})"
        case ssl.SSLError():
            return "it does not speak TLS as it should"
        case socket.gaierror() | UnicodeError():
            return "its name is not known"
        case TimeoutError():
            return f"no connection came about in {_CONNECT:.0f} s"
        case ConnectionRefusedError() | FileNotFoundError():
            return "nothing listens there"
    return (error.strerror or "the connection broke").lower()


async def whole(read: Callable[[], Awaitable[bytes]], most: int = _MOST_BODY) -> bytes:
    """All that `read` gives until its b"". Raises EngineBadResponse when that is more than `most` bytes."""
    pieces, size = [], 0
    while piece := await read():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise EngineBadResponse("The model's engine sent an answer that is larger than any can be.")
    return b"".join(pieces)
