"""The routes of the realtime API: the socket, and the secrets that open it from a browser."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import Field
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import InvalidRequest
from freehold.gateway.http import Json, read_json_body
from freehold.gateway.models import find
from freehold.gateway.realtime.lobby import PREFIX
from freehold.gateway.realtime.talk import Talk, check
from freehold.gateway.services import Services
from freehold.gateway.websocket import Upgraded, WebSocket, check_offered, subprotocols
from freehold.protocol.realtime.config import Settings, settings
from freehold.protocol.requests.common import Part, parse
from freehold.routing.catalog import Entry

_KEY = "openai-insecure-api-key."  # how a browser, which cannot set a header, sends its secret
_REALTIME = "realtime"
_BETA = "openai-beta.realtime-v1"


class ExpiresAfter(Part):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(600, ge=10, le=7200)


class SecretRequest(Part):
    expires_after: ExpiresAfter = ExpiresAfter()
    session: Settings | None = None


async def client_secrets(services: Services, request: Request) -> Response:
    """A secret for a browser: it opens sessions with these settings, and nothing else, for a while."""
    asked = parse(SecretRequest, await read_json_body(request, services.settings.max_body_bytes)).value
    wanted = asked.session or settings({"type": "realtime"})
    if wanted.model is not None:
        _answerer(services, wanted.model)
    check(services, wanted)
    until = int(time.time()) + asked.expires_after.seconds
    value = services.lobby.issue(asked.session, asked.expires_after.seconds)
    shown = wanted.shown("", wanted.model or "", until)
    return Json({"value": value, "expires_at": until, "session": {**shown, "id": f"sess_{value[-24:]}"}})


async def connect(services: Services, request: Request) -> Response:
    """The socket. All that is wrong with the key, the model or the settings is said before the upgrade."""
    check_offered(request)
    offered = subprotocols(request)
    kept = _admitted(services, request, offered)
    wanted, model = _wanted(request, kept)
    entry = None if wanted.type == "transcription" else _answerer(services, model)
    if entry is not None:
        entry.check()
        request.scope["freehold.model"] = entry.manifest.name
    caller = request.client.host if request.client else ""
    old = "realtime=v1" in request.headers.get("openai-beta", "") or _BETA in offered

    async def talk(socket: WebSocket) -> None:
        await Talk(services, wanted, entry, model, caller, old=old).run(socket)

    place = services.lobby.place(services.settings.realtime.sessions)
    return Upgraded(talk, _REALTIME if _REALTIME in offered else None, place)


def _admitted(services: Services, request: Request, offered: list[str]) -> Settings | None:
    """The settings that a client secret stands for; None for who has the key. Raises Unauthenticated."""
    headers = request.headers
    sent = next((name.removeprefix(_KEY) for name in offered if name.startswith(_KEY)), None)
    if sent is not None and "authorization" not in headers:
        headers = Headers({"authorization": f"Bearer {sent}"})
    token = headers.get("authorization", "").partition(" ")[2].strip()
    if token.startswith(PREFIX):
        return services.lobby.admit(token)
    services.key(headers)
    return None


def _wanted(request: Request, kept: Settings | None) -> tuple[Settings, str]:
    """The session's settings, and what its model is called."""
    query = dict(request.query_params)
    intent, model = query.pop("intent", None), query.pop("model", None)
    if query:
        name = min(query)[:64]
        raise InvalidRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if intent not in (None, "transcription", "realtime", "conversation"):
        raise InvalidRequest("The parameter 'intent' is 'transcription', or left out.", param="intent", code="invalid_value")
    if intent == "transcription" or (kept is not None and kept.type == "transcription"):
        given = {"audio": {"input": {"transcription": {"model": model} if model else {}}}}
        if kept is not None and kept.type != "transcription":
            raise InvalidRequest("The client secret is for a session of another type.", param="intent", code="invalid_value")
        return kept or settings({"type": "transcription", **given}), model or ""
    if kept is not None and kept.model is not None:
        if model not in (None, kept.model):
            raise InvalidRequest("The client secret is for another model.", param="model", code="invalid_value")
        return kept, kept.model
    if not model:
        raise InvalidRequest("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    return kept or settings({"type": "realtime"}), model


def _answerer(services: Services, name: str) -> Entry:
    """The model that answers. Raises InvalidRequest for one that does not chat."""
    entry = find(services, name)
    if "chat" not in entry.target.capabilities:
        raise InvalidRequest(
            f"The model {entry.manifest.name!r} does not chat, so it cannot answer in a session; choose one that does.",
            param="model",
            code="invalid_value",
        )
    return entry
