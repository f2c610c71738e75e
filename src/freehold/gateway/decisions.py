"""POST /v1/decisions and /v1/systemone: how likely answers to questions about a text are."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from freehold.aliases import DECISION_DEFAULT
from freehold.errors import Unavailable
from freehold.gateway.inference import answered, received
from freehold.gateway.models import find
from freehold.gateway.services import Services
from freehold.protocol.decision import decision_plan, systemone_plan
from freehold.protocol.requests.decision import DecisionRequest, SystemOneRequest
from freehold.routing.catalog import Entry


async def decisions(services: Services, request: Request) -> Response:
    return await answered(services, request, await received(services, request, DecisionRequest), decision_plan, resolve=_judge)


async def systemone(services: Services, request: Request) -> Response:
    asked = await received(services, request, SystemOneRequest)
    return await answered(services, request, asked, systemone_plan, resolve=_judge)


def _judge(services: Services, name: str) -> Entry:
    """The model of that name; for OpenAI's names, while the setting is empty, the newest decision model. Raises Unavailable
    where there is none."""
    if services.settings.default_decision or services.catalog.meant(name) != DECISION_DEFAULT:
        return find(services, name)
    judges = [manifest for manifest in services.store.list() if manifest.task == "decision"]
    if not judges:
        raise Unavailable(
            "No decision model is installed, and only such a one has probabilities for answers. Pull one as a GGUF file.",
            retry_after=None,
            code="no_decision_model",
        )
    return find(services, max(judges, key=lambda judge: (judge.created, judge.name)).name)
