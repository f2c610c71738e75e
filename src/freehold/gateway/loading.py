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
from freehold.routing.catalog import Entry
from freehold.routing.seat import lasting


async def load(services: Services, request: Request) -> Response:
    """Answers when the model is loaded. One that has failed is tried again at once. Raises what a request to it would.

    A client that leaves ends nothing: the load goes on.
    """
    asked = parse(LoadRequest, await read_json_body(request, services.settings.max_body_bytes)).value
    entry = find(services, asked.model)
    name = entry.manifest.name
    request.scope["freehold.model"] = name
    await bring_in(services, entry, asked.keep_alive)
    worker = next((worker for worker in services.supervisor.status() if worker.model == name), None)
    return Json({"model": name, "worker": asdict(worker) if worker else None})


async def unload(services: Services, request: Request) -> Response:
    """Answers when the model's memory is free. Raises Conflict while it answers somebody, unless it is to be forced."""
    asked = parse(UnloadRequest, await read_json_body(request, services.settings.max_body_bytes)).value
    name = find(services, asked.model).manifest.name
    request.scope["freehold.model"] = name
    return Json({"model": name, "unloaded": await take_out(services, name, force=asked.force)})


async def bring_in(services: Services, entry: Entry, keep_alive: float | None) -> None:
    """Loads a model, also one that has failed. Returns when it is loaded; raises what a request to it would."""
    entry.check()
    services.supervisor.forgive(entry.manifest.name)
    services.scheduler.forget(entry.manifest.name)
    stay = entry.stay if keep_alive is None else replace(entry.stay, keep_alive=lasting(keep_alive))
    await services.scheduler.load(entry.deployment, stay)


async def take_out(services: Services, name: str, *, force: bool = False) -> bool:
    """Whether the model was loaded; its memory is free then. Raises Conflict while it answers somebody, unless by `force`."""
    busy = services.scheduler.busy(name)
    if busy and not force:
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
    return was_loaded
