"""A WebSocket on a connection of ours (RFC 6455): messages in and out, every wait with an end, every buffer with a size.

Its opening handshake is a GET like any other: it passes the whole onion, and what is wrong with it is answered in HTTP. The
handler that wants the socket answers with `Upgraded`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from freehold.errors import InvalidRequest, UpgradeRequired
from freehold.gateway.http import ClientGone

if TYPE_CHECKING:
    from freehold.gateway.connection import Connection

PING = 20.0  # seconds between two pings; a client that gives no sign of life from one to the next is gone
_LARGEST = 16 * 2**20  # bytes of a message: OpenAI takes 15 MiB of audio in one
_STEP = 16 * 1024  # bytes that are looked at before others have their turn
_MOST_HELD = 256 * 1024  # bytes of messages that wait for the handler before the client is made to wait
_MOST_WAITING = 256
_LEAST_RATE = 16 * 1024  # bytes a second that an unfinished message must bring to count as a sign of life
_LINGER = 5.0  # seconds that are left to a client for its part of the closing
_QUIET = logging.getLogger("freehold.websocket")
_QUIET.setLevel(logging.CRITICAL + 1)


class Closed(Exception):
    """The socket is closed, by whichever side; `code` is what the client said, 1006 where it just left."""

    def __init__(self, code: int):
        super().__init__(f"closed with {code}")
        self.code = code


class WebSocket:
    """One client's socket. `receive` has one caller at a time; `put` may be called by several."""

    def __init__(self, connection: Connection, path: str, headers: list[tuple[bytes, bytes]]):
        self._connection = connection
        named = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        self._handshake = Handshake(path, named)
        self._protocol = ServerProtocol(state=State.OPEN, max_size=_LARGEST, logger=_QUIET)
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()  # bytes that are still to be looked at
        self._messages: collections.deque[str | bytes] = collections.deque()
        self._held = 0
        self._parts = bytearray()  # of a message that comes in fragments
        self._text = False
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        self._digesting = False
        self._ticking: asyncio.TimerHandle | None = None
        self._frames, self._bytes = 1, 0  # since the last ping; the handshake counts

    # What the handler calls.

    def accept(self, subprotocol: str | None) -> list[tuple[bytes, bytes]]:
        """The headers of the 101. Raises InvalidRequest or UpgradeRequired for a handshake that is not one."""
        answer = ServerProtocol(logger=_QUIET).accept(self._handshake)
        if answer.status_code != 101:
            if self._handshake.headers.get_all("Sec-WebSocket-Version") not in ([], ["13"]):
                raise UpgradeRequired("This server speaks version 13 of the WebSocket protocol.")
            raise InvalidRequest("The WebSocket handshake is not valid.", code="malformed_request")
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.raw_items() if name != "Date"]
        if subprotocol is not None:
            headers.append((b"sec-websocket-protocol", subprotocol.encode()))
        return headers

    async def receive(self) -> str | bytes:
        """The next message. Raises Closed."""
        while not self._messages:
            if self._protocol.state is not State.OPEN:
                raise Closed(self.code)
            self._news.clear()
            await self._news.wait()
        message = self._messages.popleft()
        self._held -= len(message)
        self._digest()
        return message

    def put(self, text: bytes) -> None:
        """Sends a text message, if the client is still there. Whoever sends much awaits `writable` after it."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(text)
            self._flush()

    async def writable(self) -> None:
        """Waits while the client does not take what it was sent. Raises Closed once nothing can be sent any more."""
        await self._connection.writable()
        if self._protocol.state is not State.OPEN:
            raise Closed(self.code)

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Says good-bye, and waits until the connection has ended. A client that does not answer is cut off."""
        self._leave(code, reason)
        await self._ended.wait()

    @property
    def code(self) -> int:
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd else CloseCode.ABNORMAL_CLOSURE

    # What the connection tells.

    @property
    def begun(self) -> bool:
        return self._ticking is not None

    def begin(self, ahead: bytes) -> None:
        """The 101 has been sent. `ahead` is what the client sent without waiting for it."""
        self._ticking = self._loop.call_later(PING, self._tick)
        self.feed(ahead)

    def feed(self, data: bytes) -> None:
        self._unread += data
        self._bytes += len(data)
        if not self._digesting:
            self._digest()

    def resume(self) -> None:
        """The client takes what it is sent again."""
        self._digest()

    def shutdown(self) -> None:
        """The server ends, whatever the handler does."""
        self._leave(CloseCode.GOING_AWAY, "The server is shutting down.")

    def lost(self) -> None:
        """The connection has ended."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._protocol.state = State.CLOSED
        self._unread.clear()
        self._messages.clear()
        self._news.set()
        self._ended.set()

    # The inside.

    def _leave(self, code: int, reason: str) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._messages.clear()
            self._flush()
            self._news.set()
            self._loop.call_later(_LINGER, self._late)
            self._digest()

    def _late(self) -> None:
        if not self._ended.is_set():
            self._connection.cut()

    def _digest(self) -> None:
        """Looks at what has come, a step at a time, as long as the handler and the client keep up."""
        self._digesting = False
        closing = self._protocol.state is not State.OPEN
        full = self._held >= _MOST_HELD or len(self._messages) >= _MOST_WAITING or not self._connection.can_write
        if full and not closing:
            self._connection.pause_reading()
            return
        if self._unread and not self._ended.is_set():
            step = bytes(self._unread[:_STEP])
            del self._unread[:_STEP]
            self._protocol.receive_data(step)
            for event in self._protocol.events_received():
                self._take(event)
            self._flush()
        if self._unread:
            self._digesting = True
            self._loop.call_soon(self._digest)
        else:
            self._connection.resume_reading()

    def _take(self, frame: object) -> None:
        assert isinstance(frame, Frame)  # noqa: S101 - a server's protocol has no other events after the handshake
        self._frames += 1
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is Opcode.CLOSE:
                self._news.set()
            return
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
            self._parts.clear()
        self._parts += frame.data
        if not frame.fin or self._protocol.state is not State.OPEN:
            return
        data, self._parts = bytes(self._parts), bytearray()
        try:
            self._messages.append(data.decode() if self._text else data)
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "The text is not UTF-8.")
            return
        self._held += len(self._messages[-1])
        self._news.set()

    def _flush(self) -> None:
        """Gives the connection what the protocol has to say; its end of the stream ends the connection."""
        for data in self._protocol.data_to_send():
            if data:
                self._connection.write(data)
            else:
                self._news.set()
                self._connection.end(by_client=self._protocol.close_rcvd is not None)

    def _tick(self) -> None:
        """A ping, unless the last one had no effect. A client that is made to wait cannot answer, and is not blamed."""
        alive = self._frames or self._bytes >= _LEAST_RATE * PING or not self._connection.reading
        self._frames = self._bytes = 0
        self._ticking = self._loop.call_later(PING, self._tick)
        if self._protocol.state is not State.OPEN:
            return
        if not alive:
            self._protocol.fail(CloseCode.INTERNAL_ERROR, "No answer to a ping.")
        else:
            self._protocol.send_ping(b"")
        self._flush()


class Upgraded(Response):
    """Takes the socket that a request offers, and gives it to `talk`; closes it when that returns. `held` is entered before,
    where it may still refuse, and left when the socket is closed."""

    def __init__(
        self,
        talk: Callable[[WebSocket], Awaitable[None]],
        subprotocol: str | None = None,
        held: AbstractContextManager[None] | None = None,
    ):
        super().__init__()
        self._talk = talk
        self._subprotocol = subprotocol
        self._held = held or contextlib.nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await self._serve(scope, send)

    async def _serve(self, scope: Scope, send: Send) -> None:
        socket: WebSocket = scope["freehold.websocket"]
        await send({"type": "http.response.start", "status": 101, "headers": socket.accept(self._subprotocol)})
        if not socket.begun:  # there was nobody any more to be told
            raise ClientGone
        code, reason = CloseCode.INTERNAL_ERROR, "The server met an error of its own."
        try:
            await self._talk(socket)
            code, reason = CloseCode.NORMAL_CLOSURE, ""
        except Closed:
            pass
        finally:
            await socket.close(code, reason)


def check_offered(request: Request) -> None:
    """Raises UpgradeRequired for a request that offers no WebSocket."""
    if "freehold.websocket" not in request.scope:
        raise UpgradeRequired("This is a WebSocket: connect to it with a WebSocket client, such as that of OpenAI's SDK.")


def subprotocols(request: Request) -> list[str]:
    """What a client would speak on the socket, in the order of its preference."""
    offered = ",".join(request.headers.getlist("sec-websocket-protocol"))
    return [name.strip() for name in offered.split(",") if name.strip()]
