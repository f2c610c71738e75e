"""/livez, /readyz and /metrics: for supervisors and scrapers, so open without a key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import FreeholdError
from freehold.gateway.http import Json
from freehold.gateway.services import Services
from freehold.telemetry import CONTENT_TYPE


async def livez(services: Services, request: Request) -> Response:
    """The process is up and its event loop turns."""
    return Json({"status": "ok"})


async def readyz(services: Services, request: Request) -> Response:
    """200 only while a chat request to the default model would be served: its worker has answered a real request, and its
    heartbeat has not failed since."""
    name = services.settings.default_chat
    reason = None
    if services.traffic.draining:
        reason = "the server is shutting down"
    else:
        try:
            services.pulls.check(services.catalog.real_name(name))
            model = services.catalog.resolve(name).manifest.name
        except FreeholdError as error:
            reason = error.message
        else:
            state = services.supervisor.state(model)
            if state != "ready" and not (state is None and services.scheduler.served(model)):  # it has only made room
                reason = f"the model {model!r} is {state or 'not loaded'}"
    if reason is None:
        return Json({"status": "ready"})
    return Json({"status": "not ready", "reason": reason}, status_code=503, headers={"Retry-After": "1"})


async def metrics(services: Services, request: Request) -> Response:
    return Response(services.telemetry.scrape(), headers={"content-type": CONTENT_TYPE})
