"""Answers that are stored before their client is told that they are complete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import ContextLengthExceeded, InvalidRequest, NotFound
from freehold.fleet.client import EngineClient
from freehold.gateway.inference import LeasedAnswer
from freehold.gateway.messages import prompt_tokens
from freehold.gateway.services import Services
from freehold.gateway.stream import Outgoing
from freehold.protocol.plan import Joiner, Plan
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms
from freehold.state.paging import Page

Keep = Callable[[Joiner, Mapping[str, Any] | None], Awaitable[None]]
OWNER = "local"  # there is one key; rows have an owner so that there can be more


class KeptAnswer(LeasedAnswer):
    """`keep` stores the joiner's answer. `shorter` plans with that many of the oldest items left out, where those may be."""

    def __init__(
        self,
        services: Services,
        entry: Entry,
        plan: Plan,
        terms: Terms,
        headers: dict[str, str],
        *,
        keep: Keep,
        shorter: Callable[[int], tuple[Plan, Plan]] | None = None,
        longest: int = 0,
    ):
        super().__init__(services, entry, plan, terms, headers)
        self._keep = keep
        self._shorter = shorter
        self._longest = longest

    @property
    def response(self) -> dict[str, Any] | None:
        """What has been streamed, as the object that it adds up to."""
        return getattr(self._joiner, "response", None)

    def first(self) -> dict[str, Any]:
        """The object as it is before anything is made."""
        return dict(getattr(self._plan.joiner(()), "response", {}))

    async def _settle(self, joiner: Joiner, whole: Mapping[str, Any] | None) -> None:
        await self._keep(joiner, whole)

    async def _whole(self, client: EngineClient) -> Response:
        await self._shorten(client)
        return await super()._whole(client)

    async def _joined(self, client: EngineClient, out: Outgoing) -> None:
        await self._shorten(client)
        await super()._joined(client, out)

    async def _shorten(self, client: EngineClient) -> None:
        """Leaves out as few of the oldest items as fit the context with a quarter of it free, by bisection."""
        if self._shorter is None:
            return
        room = self._entry.target.context * 3 // 4
        low, high = 0, self._longest
        while low < high:
            middle = (low + high) // 2
            if await self._tokens(client, self._shorter(middle)[1]) <= room:
                high = middle
            else:
                low = middle + 1
        self._plan, self._shorter = self._shorter(low)[0], None

    async def _tokens(self, client: EngineClient, plan: Plan) -> int:
        try:
            return await prompt_tokens(client, plan, self._services.settings.timeouts)
        except ContextLengthExceeded:  # an image is only counted by being read
            return self._entry.target.context


def page_asked(request: Request, most: int = 100, order: str = "desc") -> Page:
    """Which part of a list a query asks for. Raises InvalidRequest."""
    query = request.query_params
    limit, wanted = query.get("limit", "20"), query.get("order", order)
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= most):
        raise InvalidRequest(f"Invalid 'limit': expected a number from 1 to {most}.", param="limit", code="invalid_value")
    if wanted not in ("asc", "desc"):
        raise InvalidRequest("Invalid 'order': expected 'asc' or 'desc'.", param="order", code="invalid_value")
    return Page(query.get("after"), int(limit), "asc" if wanted == "asc" else "desc")


def asked_id(request: Request, name: str) -> str:
    """An id in a path. Raises NotFound for what was never one."""
    value: str = request.path_params[name]
    if not value.isascii() or not value.isprintable() or len(value) > 256:
        raise NotFound("There is nothing stored under that id.")
    return value
