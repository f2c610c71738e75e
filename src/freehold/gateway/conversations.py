"""OpenAI's conversations: items that responses read and add to."""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import InvalidRequest
from freehold.gateway.http import Json
from freehold.gateway.inference import received
from freehold.gateway.kept import OWNER, asked_id, page_asked
from freehold.gateway.services import Services
from freehold.protocol.requests.responses_items import ChangedConversation, ItemReference, Known, MoreItems, NewConversation
from freehold.protocol.responses.records import record
from freehold.state.paging import Page, page_of


async def create(services: Services, request: Request) -> Response:
    wanted = (await received(services, request, NewConversation)).value
    identity, first, labels = f"conv_{secrets.token_hex(24)}", _records(wanted.items or ()), wanted.metadata or {}
    return Json(await services.state.run(lambda db, c: db.conversations.create(c, OWNER, identity, labels, first)))


async def get(services: Services, request: Request) -> Response:
    identity = asked_id(request, "conversation")
    return Json(await services.state.run(lambda db, c: db.conversations.load(c, OWNER, identity)))


async def update(services: Services, request: Request) -> Response:
    identity = asked_id(request, "conversation")
    labels = (await received(services, request, ChangedConversation)).value.metadata or {}
    return Json(await services.state.run(lambda db, c: db.conversations.relabel(c, OWNER, identity, labels)))


async def delete(services: Services, request: Request) -> Response:
    identity = asked_id(request, "conversation")
    await services.state.run(lambda db, c: db.conversations.remove(c, OWNER, identity), erase=True)
    return Json({"id": identity, "object": "conversation.deleted", "deleted": True})


async def add_items(services: Services, request: Request) -> Response:
    identity = asked_id(request, "conversation")
    new = _records((await received(services, request, MoreItems)).value.items)
    await services.state.run(lambda db, c: db.conversations.extend(c, OWNER, identity, new))
    return Json(page_of(new, Page(limit=len(new), order="asc")))


async def list_items(services: Services, request: Request) -> Response:
    identity, page = asked_id(request, "conversation"), page_asked(request)
    return Json(page_of(await services.state.run(lambda db, c: db.conversations.listed(c, OWNER, identity)), page))


async def get_item(services: Services, request: Request) -> Response:
    identity, item = asked_id(request, "conversation"), asked_id(request, "item")
    return Json(await services.state.run(lambda db, c: db.conversations.item(c, OWNER, identity, item)))


async def delete_item(services: Services, request: Request) -> Response:
    identity, item = asked_id(request, "conversation"), asked_id(request, "item")
    work = services.state.run(lambda db, c: db.conversations.remove_item(c, OWNER, identity, item), erase=True)
    return Json(await work)


def _records(items: list[Known] | tuple[()]) -> list[dict[str, object]]:
    for place, item in enumerate(items):
        if isinstance(item, ItemReference):
            raise InvalidRequest("A conversation takes items themselves, not references.", param=f"items[{place}].type")
    return [record(item) for item in items]
