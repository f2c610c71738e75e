"""/api/load and /api/unload: models go into memory and out of it when somebody says so, not only when a request needs it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import Conflict
from freehold.gateway.http import Json, read_json_body
from freehold.gateway.models import find
from freehold.gateway.services import Services
from freehold.protocol.requests import parse
from freehold.protocol.requests.control import LoadRequest, UnloadRequest
from freehold.routing.seat import lasting


async def load(services: Services, request: Request) -> Response:
    """Answers when the model is loaded. One that has failed is tried again at once. Raises what a request to it would.

    A client that leaves ends nothing: the load goes on.
    """
    asked = parse(LoadRequest, await read_json_body(request, services.settings.max_body_bytes)).value
    entry = find(services, asked.model)
    entry.check()
    name = entry.manifest.name
    request.scope["freehold.model"] = name
    services.supervisor.forgive(name)
    services.scheduler.forget(name)
    stay = entry.stay if asked.keep_alive is None else replace(entry.stay, keep_alive=lasting(asked.keep_alive))
    await services.scheduler.load(entry.deployment, stay)
    worker = next((worker for worker in services.supervisor.status() if worker.model == name), None)
    return Json({"model": name, "worker": asdict(worker) if worker else None})


async def unload(services: Services, request: Request) -> Response:
    """Answers when the model's memory is free. Raises Conflict while it answers somebody, unless it is to be forced."""
    asked = parse(UnloadRequest, await read_json_body(request, services.settings.max_body_bytes)).value
    name = find(services, asked.model).manifest.name
    request.scope["freehold.model"] = name
    busy = services.scheduler.busy(name)
    if busy and not asked.force:
        raise Conflict(
            f"The model {name!r} has {busy} request{'s' if busy > 1 else ''}; unload it when they are done, or with force.",
            param="model",
        )
    was_loaded = services.supervisor.state(name) is not None
    leaving = asyncio.create_task(services.scheduler.unload(name))
    try:
        if busy:
            await services.supervisor.stop(name)
        await leaving
    finally:
        leaving.cancel()
    services.supervisor.forget(name)
    return Json({"model": name, "unloaded": was_loaded})
