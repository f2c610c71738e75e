"""One client's connection: HTTP/1.1 in, ASGI calls out. Every wait for the client has an end, and every buffer a size.

Uvicorn accepts and closes; this is the protocol it is given instead of its own, which waits for ever for a head, has no limit
on its size, forgets a running request when the client that pipelined another leaves, and drops the body of a request that
offers to upgrade (as Java's client does). A request that offers a WebSocket carries it as `freehold.websocket` in its scope;
the bytes of a connection whose request was answered with 101 are that socket's.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import secrets
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp, Scope
from uvicorn.server import ServerState

from freehold.errors import FreeholdError, RequestTimeout, TooManyConnections
from freehold.gateway.heads import MOST_HEAD, address, hold_little, malformed, offers_websocket, size, too_large, too_much_ahead
from freehold.gateway.http import error_response
from freehold.gateway.turn import Turn, head
from freehold.gateway.websocket import WebSocket
from freehold.telemetry import log

if TYPE_CHECKING:
    from freehold.gateway.server import ServerConfig

_MOST_AHEAD = 32  # requests that wait for the answers to those before them
_MOST_BODY_HELD = 64 * 1024  # bytes of body that wait for the handler before the client is made to wait
_LEAST_RATE = 16 * 1024  # bytes a second that a body must bring, beyond `body_timeout`
_LINGER = 5.0  # seconds that are left to a client for reading an answer while it still sends
_NO_LINGER = struct.pack("ii", 1, 0)
_SPARE = 256  # connections above the limit that get an answer saying so


class Connection(asyncio.Protocol):
    """Requests are answered one after the other. The methods without a docstring are those that asyncio and the parser call."""

    def __init__(self, config: ServerConfig, server_state: ServerState, app_state: dict[str, Any], _loop: object = None):
        self._config = config
        self._limits = config.limits
        self._app = cast(ASGIApp, config.loaded_app)
        self._state = server_state
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._timer: asyncio.TimerHandle | None = None  # for what the client has to send
        self._stalled: asyncio.TimerHandle | None = None  # for what it has to take
        self._turn: Turn | None = None  # being answered
        self._incoming: Turn | None = None  # whose body is being received
        self._next: collections.deque[Turn] = collections.deque()  # sent ahead
        self._ahead = bytearray()  # sent ahead, not parsed yet
        self._idle = False  # between two requests
        self._refusal: FreeholdError | None = None  # to be said after the running answer
        self._deaf = False  # nothing more is read from this client
        self.reading = True
        self._unframed = 0  # bytes since the last piece of a body
        self._upgrade = False
        self._socket: WebSocket | None = None
        self._body_until = 0.0
        self._writable = asyncio.Event()
        self._writable.set()

    # The client's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._server, self._client = (address(transport, name) for name in ("sockname", "peername"))
        hold_little(transport)
        self._state.connections.add(self)  # type: ignore[arg-type]
        if len(self._state.connections) > self._config.most + _SPARE:
            self.cut()
        elif len(self._state.connections) > self._config.most:
            self._refuse(TooManyConnections("The server has as many connections as it can take; try again shortly."))
        else:
            self._await(self._limits.header_timeout, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        self._deaf = True
        self._next.clear()
        self._writable.set()
        for turn in (self._turn, self._incoming):
            if turn is not None:
                turn.leave()
        if self._socket is not None:
            self._socket.lost()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._socket is not None:
            self._socket.feed(data)
        elif self._turn is not None and self._incoming is not self._turn:
            self._keep(data)
        else:
            self._feed(data)

    def pause_writing(self) -> None:
        self._writable.clear()
        self._stalled = self._loop.call_later(self._config.write_timeout, self.cut)

    def resume_writing(self) -> None:
        self._writable.set()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._socket is not None:
            self._socket.resume()

    def _keep(self, data: bytes) -> None:
        """Keeps what a client sends before it has its answer. Reading goes on, for that tells when the client leaves."""
        self._ahead += data
        if len(self._ahead) > MOST_HEAD:
            self._ahead.clear()
            self._deaf, self._refusal = True, too_much_ahead()

    def _feed(self, data: bytes) -> None:
        if self._idle:
            self._idle = False
            self._rest()
        self._unframed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._upgrade and self._turn is None and offers_websocket(self._method, self._headers):
                self._with_socket(data[upgrade.args[0] :])
            elif self._upgrade:
                self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            ours = error.__context__
            self._malformed(ours if isinstance(ours, FreeholdError) else malformed("What was sent is not HTTP/1.1."))
        if self._deaf:
            return
        if self._unframed > MOST_HEAD:
            self._malformed(too_large())
        elif self._timer is None and self._turn is None:
            self._await(self._limits.header_timeout, self._head_late)
        elif self._timer is None and self._incoming is self._turn is not None:
            self._await_body()

    def _without_upgrade(self, rest: bytes) -> None:
        """An offered upgrade is not taken: the request is read again without it, for the parser has left its body out."""
        self._upgrade, self._unframed = False, 0
        if self._method == b"CONNECT":
            self._malformed(malformed("This server is no proxy."))
            return
        self._parser = httptools.HttpRequestParser(self)
        headers = b"".join(b"%b: %b\r\n" % pair for pair in self._headers if pair[0] != b"upgrade")
        self._feed(b"%b %b HTTP/1.1\r\n%b\r\n" % (self._method, self._url, headers) + rest)

    def _with_socket(self, rest: bytes) -> None:
        """Answers a request that offers a WebSocket. Until the answer is there, what comes after it waits."""
        self._upgrade, self._unframed = False, 0
        if size(self._headers) + len(self._url) > MOST_HEAD:
            self._malformed(too_large())
            return
        scope = self._scope()
        scope["freehold.websocket"] = WebSocket(self, self._url.decode("ascii", "replace"), self._headers)
        turn = Turn(self, scope, keep_alive=False, expects=False)
        turn.feed_end()
        self._start(turn)
        if rest:
            self._keep(rest)

    def _malformed(self, error: FreeholdError) -> None:
        """Ends the connection for what cannot be read: at once, or after the answer to what came before it."""
        self._deaf = True
        if self._incoming is not None and self._incoming is self._turn:
            self._incoming.leave()
            self._refuse(error)
        elif self._turn is not None:
            self._refusal = error
        else:
            self._refuse(error)

    # The parser's side.

    def on_message_begin(self) -> None:
        self._url, self._complete_head = b"", False
        self._headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._complete_head:  # trailers are not headers: the request has been judged by then
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._complete_head = True
        self._method = self._parser.get_method()
        if self._parser.should_upgrade():
            self._upgrade = True
            return
        if self._unframed > MOST_HEAD and size(self._headers) + len(self._url) > MOST_HEAD:
            raise too_large()
        if len(self._next) >= _MOST_AHEAD:
            raise too_much_ahead()
        scope = self._scope()
        expects = any(name == b"expect" and value.lower() == b"100-continue" for name, value in self._headers)
        # Whether the body follows an unanswered Expect is the client's choice: only a new connection is unambiguous.
        keep = scope["http_version"] == "1.1" and self._parser.should_keep_alive() and not expects
        self._incoming = Turn(self, scope, keep_alive=keep, expects=expects)
        if self._turn is None:
            self._start(self._incoming)
        else:
            self._next.append(self._incoming)

    def on_body(self, piece: bytes) -> None:
        self._unframed = 0
        if self._incoming is None:
            return
        self._body_until += len(piece) / _LEAST_RATE
        if self._incoming.feed(piece) > _MOST_BODY_HELD:
            self.pause_reading()

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self._unframed = 0
        self._rest()
        if self._incoming is not None:
            self._incoming.feed_end()
            self._incoming = None

    def _scope(self) -> Scope:
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self._parser.get_http_version(),
            "method": self._method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self._headers,
            "server": self._server,
            "client": self._client,
        }

    # The answers' side.

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return self._state.default_headers

    @property
    def can_write(self) -> bool:
        """Whether the client takes what it is sent."""
        return self._writable.is_set()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def upgraded(self, socket: WebSocket) -> None:
        """The connection is a WebSocket from now on."""
        self._socket = socket
        ahead, self._ahead = bytes(self._ahead), bytearray()
        if self._deaf:  # too much was sent ahead
            self.cut()
        socket.begin(ahead)

    async def writable(self) -> None:
        """Waits while the client does not take what it was sent; that ends with the connection after the write timeout."""
        if not self._writable.is_set():
            await self._writable.wait()

    def pause_reading(self) -> None:
        if self.reading and not self.transport.is_closing():
            self.reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.reading and not self.transport.is_closing():
            self.reading = True
            self.transport.resume_reading()

    def answered(self, turn: Turn) -> None:
        """An answer is complete: on to the next request, or to the end of the connection."""
        self._turn = None
        if self.transport.is_closing():
            return
        self.resume_reading()
        if not turn.keep_alive:
            self._end()
        elif self._next and not (self._deaf and self._next[0] is self._incoming):
            self._start(self._next.popleft())
        elif self._refusal is not None:
            self._refuse(self._refusal)
        elif self._unframed:
            self._await(self._limits.header_timeout, self._head_late)
        elif not self._ahead:
            self._idle = True
            self._await(self._limits.keep_alive, self._end)
        if self._ahead and not self._deaf and self._incoming is self._turn:
            data, self._ahead = self._ahead, bytearray()
            self._feed(bytes(data))

    def cut(self) -> None:
        """Ends the connection now, by a reset: else the kernel would go on offering what the client does not take."""
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def shutdown(self) -> None:
        """Called by uvicorn when the server ends."""
        if self._socket is not None:
            self._socket.shutdown()
        elif self._turn is None:
            self._end()
        else:
            self._turn.keep_alive = False

    def end(self, *, by_client: bool) -> None:
        """Ends a WebSocket, in the client's time where it still sends."""
        self._deaf = not by_client
        self.resume_reading()
        self._end()

    def _start(self, turn: Turn) -> None:
        self._rest()
        self._turn = turn
        task = self._loop.create_task(turn.run(self._app))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _refuse(self, error: FreeholdError) -> None:
        """Answers what never became a request."""
        reason = error.code or "other"
        self._config.telemetry.refused.labels(reason).inc()
        log("connection refused", reason=reason)
        answer = error_response(error)
        identity = (b"x-request-id", f"req_{secrets.token_hex(12)}".encode())
        self.transport.write(
            head(error.status, [*self.default_headers, *answer.raw_headers, identity, (b"connection", b"close")])
        )
        self.transport.write(bytes(answer.body))
        self._deaf = True  # and whatever it still sends is read away: a reset would take the answer from it
        self._end()

    def _end(self) -> None:
        """Closes, in the client's time but not for ever. One that still sends may first read what it was answered."""
        self._rest()
        sending = bool(self._deaf or self._incoming or self._ahead)
        self._deaf = True
        if self.transport.is_closing():
            return
        if sending:
            self.transport.write_eof()
            self._await(_LINGER, self.cut)
        else:
            self.transport.close()
            self._await(self._config.write_timeout, self.cut)

    # Waiting.

    def _await(self, seconds: float, then: Callable[[], object]) -> None:
        self._rest()
        self._timer = self._loop.call_later(seconds, then)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_late(self) -> None:
        if self._unframed:
            limit = f"{self._limits.header_timeout:g} s"
            self._refuse(
                RequestTimeout(f"The request's head was not complete after {limit}, the limit.", code="header_timeout")
            )
        else:  # a connection opened in advance: there is no request to answer
            self._end()

    def _await_body(self) -> None:
        self._body_until = self._loop.time() + self._limits.body_timeout
        self._await(self._limits.body_timeout, self._body_late)

    def _body_late(self) -> None:
        left = self._body_until - self._loop.time()
        if left > 0:
            self._await(left, self._body_late)
            return
        self._timer = None
        self._malformed(RequestTimeout("The request's body did not come in time.", code="body_timeout"))
