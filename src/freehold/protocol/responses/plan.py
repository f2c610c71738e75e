"""Responses requests as plans."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from freehold.errors import InvalidRequest
from freehold.protocol.chat import chat_plan
from freehold.protocol.framing import NAMED_EVENTS
from freehold.protocol.plan import Echoed, Plan
from freehold.protocol.requests.common import explained
from freehold.protocol.requests.responses import ResponsesRequest
from freehold.protocol.requests.responses_items import InputMessage, Known
from freehold.protocol.responses.joiner import ResponsesJoiner
from freehold.protocol.responses.resource import response_of
from freehold.protocol.responses.translate import chat_request, renamed
from freehold.protocol.values import Target


def responses_plan(request: ResponsesRequest, target: Target) -> Plan:
    """Raises InvalidRequest for what this model cannot do."""
    return plan_of(request, own_items(request), target)


def plan_of(request: ResponsesRequest, context: Sequence[Known], target: Target) -> Plan:
    """The plan for a response to `context`, the items that the model reads. Raises InvalidRequest."""
    stream = bool(request.stream)
    beside: dict[str, Any] = {}
    if stream:
        beside["return_progress"] = True
    followed = False
    if "thinking" in target.capabilities:  # how many tokens were thought is told on the way alone
        beside["timings_per_token"] = followed = True
    followed = followed and not stream
    try:
        plan = chat_plan(chat_request(request, context, stream or followed), target, beside)
    except InvalidRequest as error:
        raise renamed(error) from None
    except ValidationError as error:
        raise renamed(explained(error.errors(include_url=False)[0])) from None

    def joiner(echoed: Sequence[Echoed]) -> ResponsesJoiner:
        return ResponsesJoiner(plan.joiner(echoed), response_of(request, target, f"resp_{secrets.token_hex(24)}"))

    constraint = "text.format" if plan.constraint == "response_format" else plan.constraint
    named = replace(plan, framing=NAMED_EVENTS, param="input", constraint=constraint)
    return replace(named, stream=stream, relay=False, joiner=joiner, followed=followed)


def own_items(request: ResponsesRequest) -> list[Known]:
    """The request's own input. Raises InvalidRequest where there is none."""
    if request.input is None:
        raise InvalidRequest("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if isinstance(request.input, str):
        return [InputMessage(type="message", role="user", content=request.input)]
    return list(request.input)
