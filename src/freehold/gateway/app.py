"""The whole route table on one screen, and the onion around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from freehold.errors import FreeholdError, MethodNotAllowed, NotFound
from freehold.gateway import control, health, inference, models
from freehold.gateway.http import error_response
from freehold.gateway.middleware import Edge
from freehold.gateway.services import Services

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Entry:
    """A route. `access` "key" asks for the API key where one is set; "open" does not."""

    method: str
    path: str
    handler: Handler
    access: Literal["key", "open"] = "key"


ROUTES = (
    Entry("POST", "/v1/chat/completions", inference.chat_completions),
    Entry("POST", "/v1/completions", inference.completions),
    Entry("POST", "/v1/embeddings", inference.embeddings),
    Entry("GET", "/v1/models", models.list_models),
    Entry("GET", "/v1/models/{model:path}", models.get_model),
    Entry("DELETE", "/v1/models/{model:path}", models.delete_model),
    Entry("GET", "/api/version", control.version),
    Entry("GET", "/api/ps", control.workers),
    Entry("GET", "/api/pulls", control.list_pulls),
    Entry("POST", "/api/pulls", control.begin_pull),
    Entry("GET", "/api/pulls/{pull}", control.get_pull),
    Entry("DELETE", "/api/pulls/{pull}", control.cancel_pull),
    Entry("GET", "/livez", health.livez, access="open"),
    Entry("GET", "/readyz", health.readyz, access="open"),
    Entry("GET", "/metrics", health.metrics, access="open"),
)


def build_app(services: Services) -> ASGIApp:
    """The ASGI application over a set of services."""
    app = Starlette(
        routes=[Route(entry.path, _guarded(entry, services), methods=[entry.method]) for entry in ROUTES],
        exception_handlers={FreeholdError: _render, HTTPException: _render_http},
    )
    app.router.redirect_slashes = False
    app.state.services = services
    return Edge(app, services.traffic, services.hosts, services.telemetry)


def _guarded(entry: Entry, services: Services) -> Handler:
    """The key is checked by the route that matched, never by the path as sent: two readings of a path cannot differ."""

    async def endpoint(request: Request) -> Response:
        request.scope["freehold.route"] = entry.path
        if entry.access == "key":
            services.key(request.headers)
        return await entry.handler(request)

    return endpoint


async def _render(request: Request, error: Exception) -> Response:
    assert isinstance(error, FreeholdError)  # noqa: S101  (registered for this class alone)
    return error_response(error)


async def _render_http(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405, in the envelope."""
    allowed = sorted({entry.method for entry in ROUTES if entry.path == request.url.path})
    status = error.status_code if isinstance(error, HTTPException) else 500
    line = f"{request.method} {request.url.path[:200]}"
    if status == 405:
        headers = getattr(error, "headers", None) or {}
        response = error_response(
            MethodNotAllowed(f"Not allowed: {line}. Allowed: {', '.join(allowed) or headers.get('Allow', '')}.")
        )
        response.headers.update(headers)
        return response
    return error_response(NotFound(f"Unknown request URL: {line}. Please check the URL for typos.", code="unknown_url"))
