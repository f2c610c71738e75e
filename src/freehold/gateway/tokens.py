"""A model's tokens, and what llama.cpp's clients ask of a server: /tokenize, /detokenize, /apply-template and /props."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response

from freehold.fleet.client import EngineClient
from freehold.gateway.calls import parse_answer
from freehold.gateway.http import Json
from freehold.gateway.inference import LeasedAnswer, answer, answered, received
from freehold.gateway.models import find, served_as, told_context
from freehold.gateway.services import Services
from freehold.protocol.plan import encode
from freehold.protocol.requests.tokens import DetokenizeRequest, TemplateRequest, TokenizeRequest
from freehold.protocol.tokens import TokenizePlan, detokenize_plan, template_plan, tokenize_plan


async def tokenize(services: Services, request: Request) -> Response:
    asked = await received(services, request, TokenizeRequest)
    return await answered(services, request, asked, tokenize_plan, made=TokenizedAnswer)


async def detokenize(services: Services, request: Request) -> Response:
    return await answer(services, request, DetokenizeRequest, detokenize_plan)


async def apply_template(services: Services, request: Request) -> Response:
    return await answer(services, request, TemplateRequest, template_plan)


class TokenizedAnswer(LeasedAnswer):
    """The tokens of a text, or of a chat once the model's template has made a text of it."""

    async def _whole(self, client: EngineClient) -> Response:
        plan = self._plan
        if not isinstance(plan, TokenizePlan) or plan.options is None:
            return await super()._whole(client)
        within = self._services.settings.timeouts.first_token
        prompt = parse_answer(await client.post("/apply-template", plan.bodies[0], within), plan.param)["prompt"]
        told = await client.post("/tokenize", encode({"content": prompt, **plan.options}), within)
        return Json(plan.joiner(()).whole([parse_answer(told, plan.param)]), headers=self._extra)


async def props(services: Services, request: Request) -> Response:
    """What llama.cpp's clients read of a model before they ask it something. Nothing is loaded for it."""
    entry = find(services, request.query_params.get("model") or "@chat")
    target = served_as(services, entry)
    shown = {
        "default_generation_settings": {"n_ctx": told_context(target) or 0},
        "total_slots": target.slots,
        "model_alias": target.name,
        "modalities": {"vision": "vision" in target.capabilities, "audio": False},
        "chat_template": entry.template,
        "build_info": f"freehold {version('freehold')}",
    }
    return Json(shown)
