"""The Responses API over a WebSocket: requests as messages, one after the other, and their events as messages back."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Send

from freehold.errors import FreeholdError, InvalidRequest, PayloadTooLarge
from freehold.gateway.http import ClientGone
from freehold.gateway.responses import Recent, created
from freehold.gateway.services import Services
from freehold.gateway.websocket import Closed, Upgraded, WebSocket, check_offered
from freehold.protocol.requests.common import Parsed, parse
from freehold.protocol.requests.responses import ResponsesRequest

_AHEAD = 16  # messages that may wait for the one before them


async def connect(services: Services, request: Request) -> Response:
    """The socket; the key was checked before."""
    check_offered(request)

    async def talk(socket: WebSocket) -> None:
        await _Talk(services, request, socket).run()

    return Upgraded(talk, held=services.lobby.place(services.settings.realtime.sessions))


class _Talk:
    """One client's requests. It need not be asked whether it is still there: who leaves ends what is being made."""

    def __init__(self, services: Services, request: Request, socket: WebSocket):
        self._services = services
        self._request = request
        self._socket = socket
        self._waiting: asyncio.Queue[str | bytes | None] = asyncio.Queue(_AHEAD)
        self._gone = asyncio.Event()
        self._recent = Recent()

    async def run(self) -> None:
        reading = asyncio.create_task(self._read(), name="responses socket")
        try:
            while (message := await self._waiting.get()) is not None:
                await self._handle(message)
        except ClientGone:
            pass
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _read(self) -> None:
        try:
            while True:
                await self._waiting.put(await self._socket.receive())
        except Closed:
            self._gone.set()
            await self._waiting.put(None)

    async def _handle(self, message: str | bytes) -> None:
        lane = None
        try:
            lane, parsed = self._parsed(message)
            answer = await created(self._services, self._request, parsed, self._recent)
            await answer(self._request.scope, self._receiver(), self._sender(lane))
        except FreeholdError as error:
            self._put(to_json(_error(error)), lane)

    def _parsed(self, message: str | bytes) -> tuple[str | None, Parsed[ResponsesRequest]]:
        if len(message) > self._services.settings.max_body_bytes:
            raise PayloadTooLarge("The message is larger than the limit (setting `max_body_bytes`).")
        try:
            body = from_json(message)
        except ValueError:
            raise InvalidRequest("The message is not valid JSON.") from None
        if not isinstance(body, dict) or body.pop("type", None) != "response.create":
            raise InvalidRequest("A message must be an object of type 'response.create'.", param="type", code="invalid_value")
        lane = body.pop("stream_id", None)
        if lane is not None and not (isinstance(lane, str) and 0 < len(lane) <= 256):
            raise InvalidRequest("Invalid 'stream_id': expected a string.", param="stream_id", code="invalid_value")
        if body.get("background"):
            raise InvalidRequest("There is no background over a WebSocket.", param="background", code="invalid_value")
        unknown = self._services.settings.unknown_parameters
        return lane, parse(ResponsesRequest, to_json(body | {"stream": True}), unknown=unknown)

    def _receiver(self) -> Receive:
        async def receive() -> Message:
            await self._gone.wait()
            return {"type": "http.disconnect"}

        return receive

    def _sender(self, lane: str | None) -> Send:
        async def send(message: Message) -> None:
            for frame in message.get("body", b"").split(b"\n\n"):
                if frame:
                    self._put(frame.partition(b"\ndata: ")[2], lane)
            try:
                await self._socket.writable()
            except Closed:
                raise ClientGone from None

        return send

    def _put(self, event: bytes, lane: str | None) -> None:
        named = b"" if lane is None else b',"stream_id":' + json.dumps(lane).encode()
        self._socket.put(event[:-1] + named + b"}")


def _error(error: FreeholdError) -> dict[str, Any]:
    told = error.envelope()["error"]
    about = {name: told[name] for name in ("code", "message", "param")}
    return {"type": "error", "sequence_number": 0, "status": error.status, **about, "error": told}
