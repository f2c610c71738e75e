"""Responses requests as plans."""

from __future__ import annotations

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
from freehold.protocol.requests.responses_items import FunctionCallItem, FunctionCallOutput, InputMessage, Known
from freehold.protocol.responses.joiner import ResponsesJoiner
from freehold.protocol.responses.resource import response_of
from freehold.protocol.responses.translate import chat_request, renamed
from freehold.protocol.values import Target


def plan_of(request: ResponsesRequest, context: Sequence[Known], target: Target, identity: str, created: int) -> Plan:
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
        return ResponsesJoiner(plan.joiner(echoed), response_of(request, target, identity, created))

    constraint = "text.format" if plan.constraint == "response_format" else plan.constraint
    named = replace(plan, framing=NAMED_EVENTS, param="input", constraint=constraint)
    return replace(named, stream=stream, relay=False, joiner=joiner, followed=followed)


def own_items(request: ResponsesRequest) -> list[Known]:
    """The request's own input. Raises InvalidRequest where it has none and goes on from nothing."""
    if request.input is None:
        if request.previous_response_id is None and request.conversation is None:
            raise InvalidRequest("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
        return []
    if isinstance(request.input, str):
        return [InputMessage(type="message", role="user", content=request.input)]
    return list(request.input)


def shortened(context: Sequence[Known], left_out: int) -> list[Known]:
    """The items without that many of the oldest. What the developer said stays, and so does the last item; an output goes
    with its call."""
    place, gone, kept = 0, 0, []
    for place, item in enumerate(context):
        told = isinstance(item, InputMessage) and item.role != "user"
        if gone < left_out and not told and place < len(context) - 1:
            gone += 1
        else:
            kept.append(item)
    calls = {item.call_id for item in kept if isinstance(item, FunctionCallItem)}
    return [item for item in kept if not isinstance(item, FunctionCallOutput) or item.call_id in calls]
