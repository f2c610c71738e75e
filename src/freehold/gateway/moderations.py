"""POST /v1/moderations: what a guard model thinks of a text."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from freehold.aliases import MODERATION_DEFAULT
from freehold.errors import EngineBadResponse, Unavailable
from freehold.fleet.client import EngineClient
from freehold.gateway.calls import call_all, parse_answer
from freehold.gateway.http import Json
from freehold.gateway.inference import LeasedAnswer, answered, received
from freehold.gateway.models import find
from freehold.gateway.services import Services
from freehold.protocol.guards import PLACE
from freehold.protocol.moderation import ModerationPlan, moderation_plan
from freehold.protocol.plan import encode
from freehold.protocol.requests.moderation import ModerationRequest
from freehold.routing.catalog import Entry


async def moderations(services: Services, request: Request) -> Response:
    asked = await received(services, request, ModerationRequest)
    return await answered(services, request, asked, moderation_plan, resolve=_guard, made=ModeratedAnswer)


def _guard(services: Services, name: str) -> Entry:
    """The model of that name; for OpenAI's names, while the setting is empty, the newest guard model. Raises Unavailable,
    saying what to install, where there is none."""
    if services.settings.default_moderation or services.settings.aliases.get(name, name) != MODERATION_DEFAULT:
        return find(services, name)
    chats = [find(services, manifest.name) for manifest in services.store.list() if manifest.task == "chat"]
    guards = [entry for entry in chats if entry.target.guard]
    if not guards:
        raise Unavailable(
            "No guard model is installed, and only such a one can judge texts. Install one, and ask again: "
            "freehold pull llama-guard3:8b",
            retry_after=None,
            code="no_guard_model",
        )
    return max(guards, key=lambda entry: (entry.manifest.created, entry.manifest.name))


class ModeratedAnswer(LeasedAnswer):
    """A guard's verdict on each text for each policy that it knows."""

    async def _whole(self, client: EngineClient) -> Response:
        plan = self._plan
        if isinstance(plan, ModerationPlan):
            plan = self._plan = await self._finished(client, plan)
        joiner = plan.joiner(())
        told = joiner.whole(await call_all(client, plan, self._services.settings.timeouts))
        self._meter.usage = joiner.usage
        return Json({"id": f"modr-{uuid.uuid4().hex}", **told}, headers=self._extra)

    async def _finished(self, client: EngineClient, plan: ModerationPlan) -> Any:
        guard = plan.guard
        prompts = [await self._prompt(client, plan, policy) for policy in guard.policies.values()]
        harmful, harmless = [await self._tokens(client, word) for word in (guard.harmful, guard.harmless)]
        if not harmful or not harmless or harmful[0] == harmless[0]:
            raise EngineBadResponse("The model's verdicts begin with the same token, so it cannot tell them apart.")
        texts = [await self._tokens(client, text) for text in plan.texts]
        return plan.finish(prompts, texts, harmful[0], harmless[0])

    async def _prompt(self, client: EngineClient, plan: ModerationPlan, policy: str) -> str:
        """A policy's prompt, with the text's place in it: by the guard's form, or by the model's template."""
        if plan.guard.form:
            return plan.guard.prompt(policy)
        body = {
            "messages": [{"role": "user", "content": PLACE}],
            "chat_template_kwargs": {"guardian_config": {"risk_name": policy}},
        }
        prompt = str((await self._asked(client, "/apply-template", body))["prompt"])
        if prompt.count(PLACE) != 1:
            raise EngineBadResponse("The model's chat template is not that of the guard it seems to be.")
        return prompt

    async def _tokens(self, client: EngineClient, text: str) -> Sequence[int]:
        body = {"content": text, "add_special": False, "parse_special": False}
        return tuple((await self._asked(client, "/tokenize", body))["tokens"])

    async def _asked(self, client: EngineClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
        within = self._services.settings.timeouts.first_token
        return parse_answer(await client.post(path, encode(body), within), self._plan.param)
