"""HTTP/1.1 straight on asyncio's transport: cheap, and free to break its own rules when a fault asks for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Like llama.cpp, the connection is closed after an error."""

    body: bytes
    status: int = 200
    kind: str = JSON


# None is the answer of a coroutine that has written for itself.
Pending = Coroutine[None, None, Reply | None]
Serve = Callable[[Request, "Connection"], Reply | Pending]


class Connection(asyncio.Protocol):
    """One client. `serve` has the answer to a request, or a coroutine that makes it.

    When the client leaves before its answer is complete, `left` is called, and the coroutine is cancelled unless `left`
    returns True.
    """

    def __init__(self, serve: Serve, left: Callable[[], bool], limit: int):
        self._serve = serve
        self._left = left
        self._remaining = limit
        self._buffer = b""
        self._task: asyncio.Task[Reply | None] | None = None
        self._close = False
        self._writable = asyncio.Event()
        self._writable.set()
        self.gone = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._writable.set()
        if self._task is not None and not self._task.done() and not self._left():
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._serve_next()

    def _serve_next(self) -> None:
        while not self._transport.is_closing() and (request := self._take()) is not None:
            self._remaining -= 1
            answer = self._serve(request, self)
            if not isinstance(answer, Reply):
                self._task = asyncio.get_running_loop().create_task(answer)
                self._task.add_done_callback(self._served)
                return
            self._finish(answer)

    def _served(self, task: asyncio.Task[Reply | None]) -> None:
        self._task = None
        if self.gone:
            return
        try:
            reply = task.result()
        except BaseException:  # a bug of the fake: the loop shows it, and the client sees the connection close
            self._transport.close()
            raise
        self._finish(reply)
        self._serve_next()

    def _finish(self, reply: Reply | None) -> None:
        if reply is not None:
            self._close = self._close or reply.status >= 400
            self._transport.write(self.head(reply.status, reply.kind, len(reply.body)) + reply.body)
        if self._close:
            self._transport.close()

    def _take(self) -> Request | None:
        """The next complete request in the buffer, if there is one."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[:end]
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        stop = end + 4 + length
        if len(self._buffer) < stop:
            return None
        body, self._buffer = self._buffer[end + 4 : stop], self._buffer[stop:]
        self._close = _CLOSE.search(head) is not None or self._remaining <= 1
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if _CHUNKED.search(head):  # nobody here sends one; half-read it would be the next request
            self._close, body = True, b""
        return Request(method, path, body)

    # What a streamed answer, or half of one, is made of.

    def head(self, status: int, kind: str, length: int | None) -> bytes:
        """Status line and headers as llama.cpp writes them; no length means chunked."""
        keep = "Connection: close" if self._close else f"Keep-Alive: timeout=5, max={self._remaining}"
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        reason = HTTPStatus(status).phrase
        text = f"HTTP/1.1 {status} {reason}\r\nServer: fake\r\nContent-Type: {kind}\r\n{size}\r\n{keep}\r\n\r\n"
        return text.encode("latin-1")

    def begin(self) -> None:
        """The head of a streamed answer."""
        self.write(self.head(200, "text/event-stream", None))

    def chunk(self, data: bytes) -> None:
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.write(b"0\r\n\r\n")

    def write(self, data: bytes) -> None:
        """Nothing is written to a client that left."""
        if not self.gone:
            self._transport.write(data)

    def close(self) -> None:
        """Closes the connection after what has been written."""
        self._transport.close()

    async def flushed(self) -> None:
        """Waits while the client reads too slowly; always lets the loop write what was given to it."""
        await asyncio.sleep(0)
        await self._writable.wait()

    async def sent(self) -> None:
        """Returns when the kernel has every byte written so far, so that they outlive this process."""
        while not self.gone and self._transport.get_write_buffer_size():  # noqa: ASYNC110 - it tells nobody when it is empty
            await asyncio.sleep(0)
        await asyncio.sleep(0)
