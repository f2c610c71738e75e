"""Messages requests as plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from freehold.protocol.anthropic.joiner import MessagesJoiner
from freehold.protocol.anthropic.translate import chat_request, sampling
from freehold.protocol.chat import chat_plan
from freehold.protocol.framing import NAMED_EVENTS
from freehold.protocol.plan import Echoed, Plan
from freehold.protocol.requests.anthropic import MessagesRequest, PromptRequest, ThinkingEnabled
from freehold.protocol.values import Target


def messages_plan(request: MessagesRequest, target: Target) -> Plan:
    """Raises InvalidRequest for what this model cannot do."""
    stream = bool(request.stream)
    stops = request.stop_sequences or ()
    followed = bool(stops) and not stream
    beside: dict[str, Any] = dict(_thinking(request, target))
    if stream:
        beside["return_progress"] = True
    if stops:
        beside["timings_per_token"] = True
    chat = chat_request(request, {**sampling(request), **_effort(request, target), "stream": stream or followed})
    plan = chat_plan(chat, target, beside)
    silent = getattr(request.thinking, "display", None) == "omitted"

    def joiner(echoed: Sequence[Echoed]) -> MessagesJoiner:
        return MessagesJoiner(plan.joiner(echoed), target.name, stops, silent=silent, kept=not stream)

    return replace(plan, stream=stream, relay=False, joiner=joiner, framing=NAMED_EVENTS, followed=followed, reported=stream)


def count_plan(request: PromptRequest, target: Target) -> Plan:
    """What would be answered with a single token: its one body has the prompt whose tokens are to be counted."""
    chat = chat_request(request, {"max_completion_tokens": 1, **_effort(request, target)})
    return chat_plan(chat, target, _thinking(request, target))


def _thinking(request: PromptRequest, target: Target) -> dict[str, Any]:
    """Off unless asked for, by models that can be told. Where a tool must be used, the whole answer is held to its call."""
    if "thinking" not in target.capabilities:
        return {}
    forced = request.tool_choice is not None and request.tool_choice.type in ("any", "tool")
    wanted = request.thinking is not None and request.thinking.type != "disabled" and not forced
    fields: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": wanted}}
    if wanted and isinstance(request.thinking, ThinkingEnabled):
        fields["thinking_budget_tokens"] = request.thinking.budget_tokens
    return fields


def _effort(request: PromptRequest, target: Target) -> dict[str, Any]:
    effort = request.output_config and request.output_config.effort
    if not effort or "reasoning_effort" not in target.capabilities:
        return {}
    return {"reasoning_effort": "xhigh" if effort == "max" else effort}
