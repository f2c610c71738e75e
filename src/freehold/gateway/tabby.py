"""What Tabby's plugins ask beside completions: whether the server is there, what it wants to know, what became of an answer.

Their protocol: clients/tabby-openapi/openapi.json of TabbyML/tabby.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

import freehold
from freehold.errors import InvalidRequest
from freehold.gateway.http import Json, read_json
from freehold.gateway.services import Services

_KINDS = ("view", "select", "dismiss")


async def health(services: Services, request: Request) -> Response:
    machine, settings = services.home.machine, services.settings
    return Json(
        {
            "model": settings.default_chat,
            "chat_model": settings.default_chat,
            "device": "cpu" if not machine.gpus else "cuda",
            "arch": machine.architecture,
            "cpu_info": machine.cpu.model,
            "cpu_count": machine.cpu.logical_cpus,
            "cuda_devices": [gpu.name for gpu in machine.gpus],
            "version": {
                "build_date": "",
                "build_timestamp": "",
                "git_sha": "",
                "git_describe": f"freehold-{freehold.__version__}",
            },
        }
    )


async def server_setting(services: Services, request: Request) -> Response:
    """Nobody is told anything of what an editor does."""
    return Json({"disable_client_side_telemetry": True})


async def events(services: Services, request: Request) -> Response:
    """Whether a completion was seen, taken or put away: counted, and nothing else of it is kept."""
    body = await read_json(request, services.settings.max_body_bytes)
    kind = body.get("type")
    if kind not in _KINDS:
        raise InvalidRequest(f"'type' is one of {', '.join(_KINDS)}.", param="type", code="invalid_value")
    services.telemetry.completions.labels(kind).inc()
    return Json({})
