"""Small parts every handler shares: bodies in, JSON and errors out, and a client that leaves."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from freehold.errors import (
    FreeholdError,
    InvalidRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    UnsupportedMediaType,
    UpgradeRequired,
)

_CONTROL = 2**20  # bytes of a control route's body: a few names


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else to_json(content)  # a fifth of json's time for vectors


def error_response(error: FreeholdError, body: Mapping[str, Any] | None = None) -> Json:
    """OpenAI's envelope, or the `body` that another dialect has for it, with Retry-After where a retry helps."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif error.status == 503:
        headers["x-should-retry"] = "false"  # what OpenAI's SDKs heed: it would only be told the same again
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, UpgradeRequired):
        headers |= {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    return Json(error.envelope() if body is None else body, status_code=error.status, headers=headers)


async def read_json_body(request: Request, limit: int) -> bytes:
    """The raw body of a JSON request. Where a route's bodies are untyped, whatever they are called is read as JSON.

    Raises UnsupportedMediaType for another type, PayloadTooLarge past `limit` bytes (by its own claim or by count), ClientGone
    when the client leaves in the middle of it.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not request.scope.get("freehold.untyped"):
        raise UnsupportedMediaType(f"The body must be application/json, not {kind[:80]!r}.")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType(f"Compressed bodies are not taken: send it without Content-Encoding {coding[:80]!r}.")
    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal():
        raise InvalidRequest("The Content-Length header is not a number.")
    if int(claimed) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise _too_large(limit)
    except ClientDisconnect:
        raise ClientGone from None
    return bytes(body)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {limit:,} bytes, the limit (setting `max_body_bytes`).")


async def read_json(request: Request, limit: int) -> Mapping[str, Any]:
    """The body as a JSON object; for the control routes."""
    raw = await read_json_body(request, min(limit, _CONTROL))
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


class ClientGone(Exception):
    """The client closed its connection before the answer was complete."""


class UntilGone:
    """A block that is cancelled when the client disconnects; it then raises ClientGone.

    Starlette does not cancel a handler whose client has left, so this watches for it, streamed or not. The request's body
    must have been read before: what `receive` gives next can only be the disconnect.
    """

    def __init__(self, receive: Receive):
        self._receive = receive
        self._gone = False

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._watcher = asyncio.create_task(self._watch(), name="disconnect watch")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        if self._gone and self._task is not None:
            self._task.uncancel()
            if kind is not None and issubclass(kind, asyncio.CancelledError):
                raise ClientGone from error

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()
