"""/api: what the command line and a console need: version, workers, pulls."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

import freehold
from freehold.errors import InvalidRequest
from freehold.gateway.doing import files_heard
from freehold.gateway.http import Json, read_json
from freehold.gateway.ollama_library import loaded, on_ollamas_port
from freehold.gateway.services import Services
from freehold.gateway.stream import Told
from freehold.protocol import sse
from freehold.protocol.ollama.models import API_VERSION
from freehold.routing.pulls import Pull
from freehold.store.names import check_name, is_path


async def version(services: Services, request: Request) -> Response:
    """On the port for Ollama's clients, the version of its API: some of them take none that is older than they know."""
    settings = services.settings
    if on_ollamas_port(services, request.scope):
        return Json({"version": API_VERSION})
    return Json(
        {"name": "freehold", "version": freehold.__version__, "pid": os.getpid(), "default_chat": settings.default_chat}
    )


async def workers(services: Services, request: Request) -> Response:
    """Every worker with its process, its queue, its sandbox and how far it is with each file that it transcribes; how far the
    memory is planned; and the models in memory as Ollama's clients read them."""
    loads, files = services.scheduler.loads(), await files_heard(services)
    rows = []
    for worker in services.supervisor.status():
        load = loads.get(worker.model)
        work = {"busy": load.taken if load else 0, "queued": load.waiting if load else 0, "files": files.get(worker.model, [])}
        rows.append({**asdict(worker), **work})
    memory = [
        {"device": device, "budget_bytes": budget, "planned_bytes": planned}
        for device, budget, planned in services.scheduler.memory()
    ]
    return Json({"models": loaded(services), "workers": rows, "memory": memory})


async def list_pulls(services: Services, request: Request) -> Response:
    return Json({"pulls": [pull.as_json() for pull in services.pulls.all()]})


async def begin_pull(services: Services, request: Request) -> Response:
    body = await read_json(request, services.settings.max_body_bytes)
    for key, value in body.items():
        if key not in {"reference", "name", "sha256", "stream"}:
            raise InvalidRequest(f"Unknown parameter: {key[:64]!r}.", param=key[:64], code="unknown_parameter")
        kind, said = (bool, "a boolean") if key == "stream" else (str, "a string")
        if value is not None and not isinstance(value, kind):
            raise InvalidRequest(f"Invalid type for {key!r}: expected {said}.", param=key, code="invalid_type")
    if not body.get("reference"):
        raise InvalidRequest("Missing required parameter: 'reference'.", param="reference", code="missing_required_parameter")
    if is_path(body["reference"]):
        raise InvalidRequest("A file is pulled on the server's own machine: freehold pull PATH.", param="reference")
    if body.get("name"):
        check_name(body["name"])  # now, and not by a pull that fails
    pull = services.pulls.begin(body["reference"], name=body.get("name"), sha256=body.get("sha256"))
    return _events(services, pull) if body.get("stream") else Json(pull.as_json(), status_code=202)


def _events(services: Services, pull: Pull) -> Response:
    """A pull as server-sent events: its JSON whenever that changes, at last with how it ended, then `[DONE]`."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(services.pulls.watch(pull)) as states:
            async for state in states:
                yield sse.encode(state) if state is not None else b": still at it\n\n"
        yield sse.DONE

    return Told(pieces(), services.settings.timeouts.write)


async def get_pull(services: Services, request: Request) -> Response:
    return Json(services.pulls.get(request.path_params["pull"]).as_json())


async def pull_events(services: Services, request: Request) -> Response:
    return _events(services, services.pulls.get(request.path_params["pull"]))


async def cancel_pull(services: Services, request: Request) -> Response:
    return Json((await services.pulls.cancel(request.path_params["pull"])).as_json())
