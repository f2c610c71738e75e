"""The `response` object, as it is told at the beginning of a stream and at its end."""

from __future__ import annotations

from typing import Any

from freehold.errors import FreeholdError
from freehold.protocol.requests.responses import ResponsesRequest
from freehold.protocol.values import Target, Usage

_CODES = {429: "rate_limit_exceeded", 400: "invalid_prompt"}


def response_of(request: ResponsesRequest, target: Target, identity: str, created: int) -> dict[str, Any]:
    """All of a response that is known before it is made. A default that the server chooses is told where it is known."""
    text = request.text.model_dump(by_alias=True, exclude_none=True) if request.text else {}
    reasoning = request.reasoning
    return {
        "id": identity,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": bool(request.background),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "metadata": request.metadata or {},
        "model": target.name,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "conversation": {"id": request.conversation.id} if request.conversation else None,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": reasoning and reasoning.effort, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": "flex" if request.service_tier == "flex" else "default",
        "store": request.store is not False,
        "temperature": _chosen(request, target, "temperature"),
        "text": {"format": {"type": "text"}, "verbosity": "medium", **text},
        "tool_choice": _plain(request.tool_choice) or "auto",
        "tools": [_tool(tool) for tool in request.tools or ()],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": _chosen(request, target, "top_p"),
        "truncation": request.truncation or "disabled",
        "usage": None,
        **({"user": request.user} if request.user is not None else {}),  # deprecated, and never null
    }


def usage_of(usage: Usage, reasoning: int) -> dict[str, Any]:
    """The cache is filled by itself, so nothing is counted as written to it."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def error_of(error: FreeholdError) -> dict[str, Any]:
    """The `error` of a response that failed."""
    return {"code": _CODES.get(error.status, "server_error"), "message": error.sentence}


def _chosen(request: ResponsesRequest, target: Target, name: str) -> Any:
    given = getattr(request, name)
    return given if given is not None else target.sampling.get(name)


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def _tool(tool: Any) -> dict[str, Any]:
    return {"description": None, "parameters": None, "strict": False, **tool.model_dump(exclude_none=True)}
