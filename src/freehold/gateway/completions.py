"""OpenAI's chat completions: made, and those that were stored listed, told, relabelled and deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from freehold.gateway.http import Json
from freehold.gateway.inference import answered, received
from freehold.gateway.kept import OWNER, KeptAnswer, asked_id, page_asked
from freehold.gateway.services import Services
from freehold.protocol.chat import chat_plan
from freehold.protocol.gathered import GatheringJoiner
from freehold.protocol.plan import Echoed, Joiner, Plan
from freehold.protocol.requests import ChatRequest
from freehold.protocol.requests.responses_items import ChangedCompletion
from freehold.protocol.values import Target
from freehold.state.paging import page_of


async def create(services: Services, request: Request) -> Response:
    parsed = await received(services, request, ChatRequest)
    wanted: ChatRequest = parsed.value
    if not wanted.store:
        return await answered(services, request, parsed, chat_plan)

    async def keep(joiner: Joiner, whole: Mapping[str, Any] | None) -> None:
        body = joiner.completion() if whole is None and isinstance(joiner, GatheringJoiner) else whole or {}
        messages, labels = _messages(wanted, body), wanted.metadata or {}
        await services.state.run(lambda db, c: db.completions.save(c, OWNER, body, labels, messages))

    return await answered(services, request, parsed, _gathered, made=partial(KeptAnswer, keep=keep))


async def list_stored(services: Services, request: Request) -> Response:
    page, query = page_asked(request, order="asc"), request.query_params
    labels = {name[9:-1]: value for name, value in query.items() if name.startswith("metadata[") and name.endswith("]")}
    model = query.get("model")
    return Json(await services.state.run(lambda db, c: db.completions.listed(c, OWNER, page, model, labels)))


async def get(services: Services, request: Request) -> Response:
    identity = asked_id(request, "completion")
    return Json(await services.state.run(lambda db, c: db.completions.load(c, OWNER, identity)))


async def update(services: Services, request: Request) -> Response:
    identity = asked_id(request, "completion")
    labels = (await received(services, request, ChangedCompletion)).value.metadata or {}
    return Json(await services.state.run(lambda db, c: db.completions.relabel(c, OWNER, identity, labels)))


async def delete(services: Services, request: Request) -> Response:
    identity = asked_id(request, "completion")
    await services.state.run(lambda db, c: db.completions.remove(c, OWNER, identity), erase=True)
    return Json({"id": identity, "object": "chat.completion.deleted", "deleted": True})


async def list_messages(services: Services, request: Request) -> Response:
    identity, page = asked_id(request, "completion"), page_asked(request, order="asc")
    return Json(page_of(await services.state.run(lambda db, c: db.completions.messages(c, OWNER, identity)), page))


def _gathered(request: ChatRequest, target: Target) -> Plan:
    plan = chat_plan(request, target)
    if not plan.stream:
        return plan

    def joiner(echoed: Sequence[Echoed]) -> GatheringJoiner:
        return GatheringJoiner(plan.joiner(echoed))

    return replace(plan, relay=False, joiner=joiner)


def _messages(request: ChatRequest, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As OpenAI lists them: text as `content`, parts beside it."""
    told = []
    for place, message in enumerate(request.messages):
        value = message.model_dump(exclude_none=True)
        content = value.get("content")
        if isinstance(content, list):
            value["content_parts"] = content
            value["content"] = "".join(part.get("text") or "" for part in content)
        told.append({"content": None, "content_parts": None, **value, "id": f"{body['id']}-{place}"})
    return told
