"""The onion around the routes: a request's identity, the gates it passes, and a well-formed answer whatever happens."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import Draining, FreeholdError, NotFound
from freehold.gateway.auth import HostCheck
from freehold.gateway.dialects import ByScope, Dialect
from freehold.gateway.http import ClientGone, error_response
from freehold.telemetry import Telemetry, log

_CLIENT_GONE = 499  # nobody is sent this: it is how nginx, and so our metrics, count a client that left
_EXPOSED = (
    *("x-request-id", "request-id", "openai-processing-ms", "retry-after"),
    *("x-freehold-ignored", "x-freehold-estimate", "x-freehold-fim"),
)
_ALWAYS = {"/livez", "/readyz", "/metrics"}


class Traffic:
    """How many requests are being answered, and whether new ones are turned away."""

    def __init__(self) -> None:
        self.active = 0
        self.turned_away = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def draining(self) -> bool:
        return self.turned_away.is_set()

    def enter(self) -> None:
        self.active += 1
        self._idle.clear()

    def leave(self) -> None:
        self.active -= 1
        if self.active == 0:
            self._idle.set()

    async def drained(self, within: float) -> bool:
        """Turns new requests away and waits for the running ones; False when they are not done in time."""
        self.turned_away.set()
        try:
            async with asyncio.timeout(within):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


class Cors(CORSMiddleware):
    """Tells browsers what a page of an allowed origin may do and read. All others are left to the edge, which refuses them."""

    def __init__(self, app: ASGIApp, hosts: Callable[[], HostCheck]):
        super().__init__(
            app, allow_methods=("GET", "POST", "DELETE"), allow_headers=("*",), expose_headers=_EXPOSED, max_age=600
        )
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = next((value for name, value in scope.get("headers", ()) if name == b"origin"), None)
        host = next((value for name, value in scope.get("headers", ()) if name == b"host"), b"")
        if origin is None or not self._hosts().allows(origin.decode("latin-1"), host.decode("latin-1")):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def is_allowed_origin(self, origin: str) -> bool:
        return True  # it would not have come here


class Edge:
    """Request id, Host and Origin, draining, counting, and the last resort for what nobody caught."""

    def __init__(self, app: ASGIApp, traffic: Traffic, hosts: Callable[[], HostCheck], telemetry: Telemetry, dialects: ByScope):
        self._app = app
        self._dialects = dialects
        self._traffic = traffic
        self._hosts = hosts
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, send, self._dialects(scope), close=self._traffic.draining)
        self._traffic.enter()
        try:
            await self._guarded(scope, receive, call)
        finally:
            self._traffic.leave()
            self._count(scope, call)

    async def _guarded(self, scope: Scope, receive: Receive, call: _Call) -> None:
        try:
            if self._traffic.draining and scope["path"] not in _ALWAYS:
                raise Draining("The server is shutting down; send the request again when it is back.", retry_after=5.0)
            self._hosts()(Headers(scope=scope))
            if not scope["path"].isprintable():  # a route would match a path with a line's end behind it
                raise NotFound("Unknown request URL: it has characters that cannot be printed.", code="unknown_url")
            await self._app(scope, receive, call.send)
        except FreeholdError as error:
            await call.fail(error, receive)
        except ClientGone:
            call.status = call.status or _CLIENT_GONE
        except Exception:  # noqa: BLE001  (the last resort: a bug must not reach the client as a bare reset)
            log("unhandled", level=40, exc_info=True, request_id=call.identity, path=scope["path"])
            bug = FreeholdError(f"The server met an error of its own; its log tells more under {call.identity}.")
            await call.fail(bug, receive)

    def _count(self, scope: Scope, call: _Call) -> None:
        seconds = time.monotonic() - call.began
        route = scope.get("freehold.route", "none")
        model = scope.get("freehold.model", "")
        self._telemetry.requests.labels(route, model, str(call.status)).inc()
        self._telemetry.duration.labels(route).observe(seconds)
        log("request", request_id=call.identity, route=route, model=model, status=call.status, seconds=round(seconds, 4))


class _Call:
    """One request's way out: the headers every answer has, and whether it has begun."""

    def __init__(self, scope: Scope, send: Send, dialect: Dialect, close: bool):
        self._scope = scope
        self._dialect = dialect
        self._send = send
        self._close = close
        self.identity = f"req_{secrets.token_hex(12)}"
        self.began = time.monotonic()
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.identity
            if self._dialect.identity is not None:
                headers[self._dialect.identity] = self.identity
            headers["openai-processing-ms"] = str(round((time.monotonic() - self.began) * 1000))
            if self._close:
                headers["connection"] = "close"
        await self._send(message)

    async def fail(self, error: FreeholdError, receive: Receive) -> None:
        if self.status == 0:  # else the answer has begun, and its own handler has ended it
            response = error_response(error, self._dialect.error(error, self.identity))
            await response(self._scope, receive, self.send)
