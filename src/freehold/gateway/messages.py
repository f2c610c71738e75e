"""Anthropic's Messages API: /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from freehold.fleet.client import EngineClient
from freehold.gateway.calls import call_all, parse_answer
from freehold.gateway.http import Json
from freehold.gateway.inference import LeasedAnswer, answer, answered, received
from freehold.gateway.services import Services
from freehold.protocol.anthropic.plan import count_plan, messages_plan
from freehold.protocol.plan import Plan, encode
from freehold.protocol.requests.anthropic import CountRequest, MessagesRequest
from freehold.protocol.values import Usage
from freehold.settings import TimeoutSettings


async def messages(services: Services, request: Request) -> Response:
    return await answer(services, request, MessagesRequest, messages_plan)


async def count_tokens(services: Services, request: Request) -> Response:
    asked = await received(services, request, CountRequest)
    return await answered(services, request, asked, count_plan, made=CountedPrompt)


class CountedPrompt(LeasedAnswer):
    """How many tokens the prompt of a chat has: exactly those that would be read, the template's among them. `kind` is what
    another API says beside the number."""

    kind: ClassVar[dict[str, str]] = {}

    async def _whole(self, client: EngineClient) -> Response:
        tokens = await prompt_tokens(client, self._plan, self._services.settings.timeouts)
        return Json({**self.kind, "input_tokens": tokens}, headers=self._extra)


async def prompt_tokens(client: EngineClient, plan: Plan, timeouts: TimeoutSettings) -> int:
    """Tokens of a chat's prompt. What an image comes to is only known when it has been read, so there a token is generated."""
    if plan.images:
        (whole,) = await call_all(client, plan, timeouts)
        return Usage.from_engine(whole.get("usage") or {}).prompt_tokens
    templated = await client.post("/apply-template", plan.bodies[0], timeouts.first_token)
    prompt = parse_answer(templated, plan.param)["prompt"]
    body = encode({"content": prompt, "add_special": True, "parse_special": True})
    return len(parse_answer(await client.post("/tokenize", body, timeouts.first_token), plan.param)["tokens"])
