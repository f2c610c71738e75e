"""One request and its answer on a connection: what ASGI calls receive and send."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Scope

from freehold.telemetry import log

if TYPE_CHECKING:
    from freehold.gateway.connection import Connection

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}


def head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a response's head. Raises ValueError for a header that would be two."""
    lines = [b"%b: %b\r\n" % pair for pair in headers]
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines):
        raise ValueError("a header with a line break")
    return _LINES[status] + block + b"\r\n"


class Turn:
    """`keep_alive` says whether the connection goes on after the answer, `expects` whether the client waits for a 100."""

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool, expects: bool):
        self.keep_alive = keep_alive
        self._connection = connection
        self._scope = scope
        self._expects = expects
        self._body = bytearray()
        self._received = False  # the whole request has come
        self._news = asyncio.Event()  # for who awaits `receive`
        self._complete = False
        self._chunked = False
        self._gone = False

    # What the connection tells.

    def feed(self, piece: bytes) -> int:
        """Takes a piece of the body; returns how much waits to be received. What comes after the answer is dropped."""
        if not self._complete:
            self._body += piece
            self._news.set()
        return len(self._body)

    def feed_end(self) -> None:
        self._received = True
        self._news.set()

    def leave(self) -> None:
        """The client is gone, or no longer listened to."""
        self._gone = True
        self._news.set()

    # What the application calls.

    async def run(self, app: ASGIApp) -> None:
        """Answers. The application's own edge turns every error into an answer; one that gets here is a bug of the edge."""
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - a bug ends its own connection, not the server
            log("unhandled", level=40, exc_info=True, path=self._scope["path"])
        finally:
            if not self._complete and not self._gone:  # a client that takes nothing has been given up
                self._connection.cut()

    async def receive(self) -> Message:
        if self._expects and not self._gone:
            self._expects = False
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._gone and not self._complete:
            self._connection.resume_reading()
            await self._news.wait()
            self._news.clear()
        if self._gone or self._complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": not self._received}

    async def send(self, message: Message) -> None:
        await self._connection.writable()
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], list(message["headers"]))
        else:
            self._continue(message.get("body", b""), message.get("more_body", False))

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._expects = False
        if status == 101:
            self._connection.transport.write(head(status, [*self._connection.default_headers, *headers]))
            self._complete = True
            self._connection.upgraded(self._scope["freehold.websocket"])
            return
        closes = any(name == b"connection" and value == b"close" for name, value in headers)
        bare = self._scope["method"] == "HEAD" or status in {204, 304}
        if not bare and not any(name == b"content-length" for name, _ in headers):
            if self._scope["http_version"] == "1.1":
                self._chunked = True
                headers.append((b"transfer-encoding", b"chunked"))
            else:
                self.keep_alive = False  # an old client knows the end of such an answer by the connection's
        if closes or not self._received:  # what is left of the request would have to be read before the next
            self.keep_alive = False
        if not self.keep_alive and not closes:
            headers.append((b"connection", b"close"))
        self._connection.transport.write(head(status, [*self._connection.default_headers, *headers]))

    def _continue(self, body: bytes, more: bool) -> None:
        transport = self._connection.transport
        if self._scope["method"] != "HEAD":
            if self._chunked and body:
                transport.write(b"%x\r\n%b\r\n" % (len(body), body))
            elif body:
                transport.write(body)
        if more:
            return
        if self._chunked:
            transport.write(b"0\r\n\r\n")
        self._complete = True
        self._news.set()
        self._connection.answered(self)
