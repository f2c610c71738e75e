"""GET /api/catalogue: the models that can be pulled, for consoles."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import InvalidRequest
from freehold.gateway.http import Json
from freehold.gateway.services import Services
from freehold.routing.cards import cards, select
from freehold.routing.here import look
from freehold.store import catalogue
from freehold.store.catalogue.entry import TASKS

_LONGEST_SEARCH = 200


async def list_catalogue(services: Services, request: Request) -> Response:
    """`search` words, a `task`, and `fits`: "true" for those that this machine's memory holds, "any" to be told of each.

    What fits is said of the memory that all models together may take. Raises InvalidRequest for another parameter or value.
    """
    query = request.query_params
    for key in query:
        if key not in {"search", "task", "fits"}:
            raise InvalidRequest(f"Unknown parameter: {key[:64]!r}.", param=key[:64], code="unknown_parameter")
    search, task, fits = query.get("search", ""), query.get("task"), query.get("fits")
    if len(search) > _LONGEST_SEARCH:
        raise InvalidRequest(f"'search' has at most {_LONGEST_SEARCH} characters.", param="search")
    if task is not None and task not in TASKS:
        raise InvalidRequest(f"'task' is one of {', '.join(TASKS)}.", param="task", code="invalid_value")
    if fits not in {None, "true", "any"}:
        raise InvalidRequest("'fits' is 'true' or 'any'.", param="fits", code="invalid_value")

    def answer() -> list[dict[str, Any]]:
        entries = select(catalogue.all(services.settings.data_dir), search, task)
        here = look(services.home, services.settings, speeds=False) if fits else None
        return cards(entries, here, fitting=fits == "true")

    return Json({"models": await asyncio.to_thread(answer)})
