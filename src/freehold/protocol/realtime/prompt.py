"""A conversation as the messages of a chat, and how much of it fits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from freehold.errors import ContextLengthExceeded
from freehold.protocol.realtime.config import FunctionTool, NamedFunction, Retention, Truncation
from freehold.protocol.realtime.effects import Order
from freehold.protocol.realtime.items import Content, Item

Message = Mapping[str, Any]
_BYTES = 3  # of text for a token: few texts have more tokens
_FRAME = 8  # tokens that a chat template puts around a message
_IMAGE = 1000  # tokens of a picture


def groups(items: Iterable[Item]) -> list[list[Message]]:
    """Messages by what belongs together: a call and its answer are one group, so that no prompt has half of them.

    A call that has no answer yet is left out, and so is what nobody said.
    """
    items = list(items)
    outputs = {item.call_id: item for item in items if item.type == "function_call_output"}
    made: list[list[Message]] = []
    for item in items:
        if item.type == "message":
            made += [[message] for message in _message(item)]
        elif item.type == "function_call" and item.call_id in outputs:
            call = {
                "id": item.call_id,
                "type": "function",
                "function": {"name": item.name, "arguments": item.text},
            }
            output = outputs[item.call_id]
            made.append(
                [
                    {"role": "assistant", "content": None, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": item.call_id, "content": output.text},
                ]
            )
    return made


def _message(item: Item) -> list[Message]:
    texts = [part.text for part in item.content if part.text and part.kind != "input_image"]
    images = [_image(part) for part in item.content if part.kind == "input_image"]
    if not texts and not images:
        return []
    text = "\n".join(texts)
    if not images:
        return [{"role": item.role, "content": text}]
    return [{"role": item.role, "content": [*([{"type": "text", "text": text}] if text else []), *images]}]


def _image(part: Content) -> Message:
    return {"type": "image_url", "image_url": {"url": part.image_url, "detail": part.detail or "auto"}}


def fields(
    tools: Sequence[FunctionTool], choice: Any, parallel: bool | None, effort: str | None, limit: int | str
) -> dict[str, Any]:
    """The other fields of the chat completion."""
    made: dict[str, Any] = {}
    if tools:
        made["tools"] = [
            {"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"type"})} for tool in tools
        ]
        named = isinstance(choice, NamedFunction)
        made["tool_choice"] = {"type": "function", "function": {"name": choice.name}} if named else choice
        if parallel is not None:
            made["parallel_tool_calls"] = parallel
    if effort is not None:
        made["reasoning_effort"] = effort
    if limit != "inf":
        made["max_completion_tokens"] = limit
    return made


def weight(messages: Sequence[Message]) -> int:
    """Tokens of messages, roughly."""
    total = 0
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [content]
        for part in parts:
            total += _IMAGE if isinstance(part, Mapping) and part["type"] == "image_url" else len(_encoded(part)) // _BYTES
        total += _FRAME + len(_encoded(message.get("tool_calls"))) // _BYTES
    return total


def _encoded(value: Any) -> bytes:
    if value is None:
        return b""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace")


def kept(order: Order, room: int) -> list[Sequence[Message]]:
    """The newest groups that fit into `room` tokens with the instructions and the tools; the newest of all in any case.

    Raises ContextLengthExceeded where nothing may be left out, and not everything fits.
    """
    fixed = weight([{"content": order.instructions}]) + len(_encoded(order.fields.get("tools"))) // _BYTES
    weights = [weight(group) for group in order.groups]
    if fixed + sum(weights) <= room:
        return list(order.groups)
    if order.truncation == "disabled":
        raise ContextLengthExceeded(
            f"The conversation is longer than the model's {room:,} tokens for it, and the session's 'truncation' is disabled.",
            param="session.truncation",
        )
    left = (room - fixed) * _ratio(order.truncation)
    first = len(weights)
    while first and (first == len(weights) or weights[first - 1] <= left):
        first -= 1
        left -= weights[first]
    return list(order.groups[first:])


def fewer(groups: Sequence[Sequence[Message]]) -> list[Sequence[Message]]:
    """Half of the groups, the newer one: for a prompt that turned out too long."""
    return list(groups[(len(groups) + 1) // 2 :])


def messages(order: Order, groups: Sequence[Sequence[Message]]) -> list[Message]:
    system = [{"role": "system", "content": order.instructions}] if order.instructions else []
    return [*system, *(message for group in groups for message in group)]


def _ratio(truncation: Truncation) -> float:
    return truncation.retention_ratio if isinstance(truncation, Retention) else 1.0
