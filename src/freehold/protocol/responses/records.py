"""Items as they are stored and told: whole, each with an id."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from freehold.errors import InvalidRequest
from freehold.protocol.requests import responses_items as items
from freehold.protocol.requests.common import explained

_ITEM: TypeAdapter[items.Known] = TypeAdapter(items.AnyItem)
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}
_TOLD: dict[str, dict[str, Any]] = {"output_text": {"annotations": [], "logprobs": []}, "input_image": {"detail": "auto"}}


def record(item: items.Known) -> dict[str, Any]:
    """A request's item as OpenAI tells it afterwards: an id, a status, content as a list of parts."""
    made = item.model_dump(exclude_none=True)
    kind = made.setdefault("type", "message")
    made.setdefault("id", f"{_PREFIXES[kind]}_{secrets.token_hex(24)}")
    made.setdefault("status", "completed")
    if kind == "message":
        content = made["content"]
        if isinstance(content, str):
            part = "output_text" if made["role"] == "assistant" else "input_text"
            content = [{"type": part, "text": content}]
        made["content"] = [{**_TOLD.get(part["type"], {}), **part} for part in content]
    elif kind == "reasoning":
        made.setdefault("summary", [])
    return made


def known(records: Iterable[dict[str, Any]]) -> list[items.Known]:
    """Stored items as a request's. Raises InvalidRequest for one that is no item any more."""
    try:
        return [_ITEM.validate_python(item) for item in records]
    except ValidationError as error:
        problem = explained(error.errors(include_url=False)[0])
        raise InvalidRequest(f"A stored item cannot be gone on from: {problem.message}", code="invalid_value") from None
