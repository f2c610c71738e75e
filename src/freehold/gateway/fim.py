"""Filling in the middle: routes of several APIs, one way to the engine."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.errors import Conflict, ModelNotFound, ModelPulling
from freehold.fleet.client import EngineClient
from freehold.gateway.calls import parse_answer
from freehold.gateway.http import Json
from freehold.gateway.inference import LeasedAnswer, answered, received
from freehold.gateway.models import find
from freehold.gateway.newest import Claim
from freehold.gateway.services import Services
from freehold.gateway.stream import Outgoing
from freehold.protocol.fim.fill import Filled, Tokens, filled, texts_of
from freehold.protocol.fim.plan import FillPlan, fim_plan, infill_plan, openai_plan, tabby_plan
from freehold.protocol.fim.shapes import picked
from freehold.protocol.plan import Plan, encode
from freehold.protocol.requests import CompletionRequest
from freehold.protocol.requests.fim import FimRequest, InfillRequest, TabbyRequest
from freehold.protocol.values import Target
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms


async def completions(services: Services, request: Request) -> Response:
    """OpenAI's text completions, or Tabby's, which have the same path."""
    return await answered(
        services, request, await received(services, request, _kind), _planned, resolve=filling, made=FilledAnswer
    )


async def fim_completions(services: Services, request: Request) -> Response:
    return await answered(services, request, await received(services, request, FimRequest), fim_plan, made=FilledAnswer)


async def infill(services: Services, request: Request) -> Response:
    parsed = await received(services, request, InfillRequest)
    return await answered(services, request, parsed, infill_plan, resolve=filling, made=FilledAnswer)


def filling(services: Services, name: str) -> Entry:
    """The model of that name; for who names none, the default chat model if it fills in, else the first that does, one with
    tokens for it before one that is asked in words."""
    if name != "@chat":
        return find(services, name)
    entries = list(services.catalog.entries())
    fills = [entry for way in ("fim", "fim_by_chat") for entry in entries if way in entry.target.capabilities]
    try:
        entry = find(services, name)
    except (ModelNotFound, ModelPulling) as missing:
        if fills:
            return fills[0]
        raise missing
    return entry if entry.target.capabilities & {"fim", "fim_by_chat"} or not fills else fills[0]


def _kind(raw: bytes) -> type[CompletionRequest | TabbyRequest]:
    """By the field that only Tabby's have: whatever comes with that text in it and is OpenAI's has it in a string, escaped."""
    return TabbyRequest if b'"segments"' in raw and b'"prompt"' not in raw else CompletionRequest


def _planned(request: CompletionRequest | TabbyRequest, target: Target) -> Plan:
    return tabby_plan(request, target) if isinstance(request, TabbyRequest) else openai_plan(request, target)


class FilledAnswer(LeasedAnswer):
    """An answer whose prompt is made of tokens, once there is an engine that knows them. Without a fill, it is an ordinary one.

    A newer request of the same editor for the same file ends it: what was typed since has made it worthless.
    """

    _claim: Claim | None = None

    def __init__(self, services: Services, entry: Entry, plan: Plan, terms: Terms, headers: dict[str, str]):
        by_chat = isinstance(plan, FillPlan) and plan.question is not None
        super().__init__(services, entry, plan, terms, headers | ({"x-freehold-fim": "chat"} if by_chat else {}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan = self._plan
        if not isinstance(plan, FillPlan):
            await super().__call__(scope, receive, send)
            return
        with self._services.newest.claimed(self._editor(scope), plan.fill) as self._claim:
            try:
                await super().__call__(scope, receive, send)
            except asyncio.CancelledError:
                self._claim.settle()  # raises what ended it, when that was a newer request

    async def _whole(self, client: EngineClient) -> Response:
        plan = self._plan
        if not isinstance(plan, FillPlan):
            return await super()._whole(client)
        prompt = await self._filled(client, plan)
        if plan.warm:
            return await self._warmed(client, prompt, plan)
        self._plan = plan.finish(prompt)
        return await super()._whole(client)

    async def _joined(self, client: EngineClient, out: Outgoing) -> None:
        if isinstance(self._plan, FillPlan):
            self._plan = self._plan.finish(await self._filled(client, self._plan))
        await super()._joined(client, out)

    async def _streamed(self, client: EngineClient, out: Outgoing) -> None:
        try:
            await super()._streamed(client, out)
        except asyncio.CancelledError:
            if self._claim is None or not out.begun:
                raise
            try:
                self._claim.settle()
            except Conflict as error:
                self._outcome = error.code or "failed"
                events = (error.envelope(),) if self._joiner is None else self._joiner.failed(error)
                await out.write(self._plan.framing.frames(events) + self._plan.framing.end)
                await out.close()

    async def _filled(self, client: EngineClient, plan: FillPlan) -> Filled:
        texts = texts_of(plan.family, plan.fill)
        empty, *parts = await asyncio.gather(self._begins(client), *(self._tokens(client, text) for text in texts.all))
        prefix, suffix, head, here, *extras = parts
        marks = await self._asked(client, plan) if plan.question else {mark: (one,) for mark, one in plan.marks.items()}
        return filled(plan.family, marks, Tokens(tuple(empty[:1]), prefix, suffix, head, here, extras), plan.room)

    async def _asked(self, client: EngineClient, plan: FillPlan) -> dict[str, Sequence[int]]:
        """The words that a chat model is asked in, as marks. The template's own are read in them, and not in the user's."""
        question, within = plan.question, self._services.settings.timeouts.first_token
        if question is None:
            return {}
        turn = {"role": "user", "content": question.message}
        body = encode({"messages": [turn], "chat_template_kwargs": {"enable_thinking": False}})
        prompt = str(parse_answer(await client.post("/apply-template", body, within), plan.param)["prompt"])
        before, gap, answer = [
            await self._tokenized(client, {"content": text, "add_special": False, "parse_special": True})
            for text in question.marks(prompt)
        ]
        line = await self._tokens(client, question.line)
        return dict(zip(plan.family.marks, (before, gap, [*answer, *line]), strict=True))

    async def _begins(self, client: EngineClient) -> Sequence[int]:
        """What this model wants before every prompt."""
        return await self._tokenized(client, {"content": "", "add_special": True})

    async def _tokens(self, client: EngineClient, text: str) -> Sequence[int]:
        return await self._tokenized(client, {"content": text, "add_special": False, "parse_special": False}) if text else ()

    async def _tokenized(self, client: EngineClient, body: dict[str, Any]) -> Sequence[int]:
        within = self._services.settings.timeouts.first_token
        return tuple(parse_answer(await client.post("/tokenize", encode(body), within), self._plan.param)["tokens"])

    async def _warmed(self, client: EngineClient, prompt: Filled, plan: FillPlan) -> Response:
        """The prompt is read and kept; nothing is generated."""
        body = encode({"prompt": list(prompt.tokens), "n_predict": 0, "cache_prompt": True})
        read = parse_answer(await client.post("/completion", body, self._services.settings.timeouts.first_token), plan.param)
        shown = {"index": 0, "content": "", "stop": True, "tokens_predicted": 0, "tokens_evaluated": len(prompt.tokens)}
        shown["tokens_cached"] = int(read.get("tokens_cached") or 0)
        fields = plan.fields
        return Json(shown if fields is None else picked(shown, fields), headers=self._extra)

    def _editor(self, scope: Scope) -> bytes:
        """Whose request it is: the user's, the program's, and for which model."""
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
        whose = (self._terms.tenant, agent.decode("latin-1"), self._entry.manifest.name)
        return hashlib.sha256("\0".join(whose).encode("utf-8", "replace")).digest()
