"""Whether what an engine says has the shape that the joiners count on; what more it says is nobody's business here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COUNTS = ("prompt_tokens", "completion_tokens")
_TEXTS = ("content", "reasoning_content", "refusal", "text")


def sound(value: Mapping[str, Any]) -> bool:
    """Whether the choices, vectors and usage in an answer, or in a chunk of one, are what they should be."""
    choices, rows = value.get("choices"), value.get("data")
    return (
        _usage(value.get("usage"))
        and (choices is None or (isinstance(choices, list) and all(map(_choice, choices))))
        and (rows is None or (isinstance(rows, list) and all(map(_row, rows))))
    )


def _usage(usage: Any) -> bool:
    if usage is None:
        return True
    if not isinstance(usage, dict):
        return False
    details = usage.get("prompt_tokens_details")
    counts = [usage.get(name) for name in _COUNTS] + [details.get("cached_tokens") if isinstance(details, dict) else None]
    return all(count is None or (type(count) is int and count >= 0) for count in counts)


def _choice(choice: Any) -> bool:
    if not isinstance(choice, dict) or not _text(choice.get("finish_reason")) or not _texts(choice):
        return False
    said = choice.get("delta", choice.get("message"))
    if said is None:
        return isinstance(choice.get("text"), str)
    logprobs = choice.get("logprobs")
    return isinstance(said, dict) and _texts(said) and _calls(said.get("tool_calls")) and isinstance(logprobs, dict | None)


def _calls(calls: Any) -> bool:
    if calls is None:
        return True
    return isinstance(calls, list) and all(map(_call, calls))


def _call(call: Any) -> bool:
    if not isinstance(call, dict) or type(call.get("index", 0)) is not int or not _text(call.get("id")):
        return False
    function = call.get("function")
    return function is None or (isinstance(function, dict) and _text(function.get("name")) and _text(function.get("arguments")))


def _row(row: Any) -> bool:
    return isinstance(row, dict) and ("embedding" not in row or (type(row.get("index")) is int))


def _texts(value: Mapping[str, Any]) -> bool:
    return all(_text(value.get(name)) for name in _TEXTS)


def _text(value: Any) -> bool:
    return value is None or isinstance(value, str)
