"""Whether what an engine says has the shape that the joiners count on; what more it says is nobody's business here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair
_COUNTS = ("prompt_tokens", "completion_tokens")
_TEXTS = ("content", "reasoning_content", "refusal", "text")


def sound(value: Mapping[str, Any]) -> bool:
    """Whether the choices, vectors and usage in an answer, or in a chunk of one, are what they should be."""
    return _usage(value.get("usage")) and _all(value.get("choices"), _choice) and _all(value.get("data"), _row)


def _all(items: Any, good: Callable[[Any], bool]) -> bool:
    """Of a list that may be left out."""
    if items is None:
        return True
    return isinstance(items, list) and all(map(good, items))


def tellable(text: str) -> bool:
    """Whether UTF-8 has it, and so a client can be told it: JSON can escape half a surrogate pair, too."""
    return text.isascii() or not _HALF.search(text)


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
    if not isinstance(said, dict) or not _texts(said) or not isinstance(logprobs, dict | None):
        return False
    calls = said.get("tool_calls")
    return calls is None or (isinstance(calls, list) and all(_call(call, growing="delta" in choice) for call in calls))


def _call(call: Any, *, growing: bool) -> bool:
    """A call that comes in pieces says which one each piece is of."""
    if not isinstance(call, dict) or not _text(call.get("id")) or (growing and type(call.get("index")) is not int):
        return False
    function = call.get("function")
    return function is None or (isinstance(function, dict) and _text(function.get("name")) and _text(function.get("arguments")))


def _row(row: Any) -> bool:
    return isinstance(row, dict) and ("embedding" not in row or (type(row.get("index")) is int))


def _texts(value: Mapping[str, Any]) -> bool:
    for name in _TEXTS:  # noqa: SIM110 - once a token, and half the price of all()
        if name in value and not _text(value[name]):
            return False
    return True


def _text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and tellable(value))
