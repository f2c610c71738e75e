"""What an engine of another maker owes a chat beside its text: one that does not know a field leaves it out without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.errors import EngineBadResponse


class Owed:
    """Sees a request's choices, whole or as they grow. `logprobs` and `call` say that log-probabilities, and a tool call, were
    asked for: raises EngineBadResponse at the end of a choice without them."""

    def __init__(self, *, logprobs: bool, call: bool):
        self._logprobs = logprobs
        self._call = call
        self._seen: dict[int, set[str]] = {}

    @property
    def nothing(self) -> bool:
        return not self._logprobs and not self._call

    def see(self, number: int, choice: Mapping[str, Any]) -> None:
        """`number` is the choice's own."""
        seen = self._seen.setdefault(number, set())
        said = choice.get("delta") or choice.get("message") or {}
        seen |= {name for name in ("content", "tool_calls") if said.get(name)}
        if choice.get("logprobs"):
            seen.add("logprobs")
        reason = choice.get("finish_reason")
        if not reason:
            return
        if self._call and "tool_calls" not in seen and reason != "length":
            raise EngineBadResponse("The external engine did not call a tool, though it was told that it must.")
        if self._logprobs and "content" in seen and "logprobs" not in seen:
            raise EngineBadResponse("The external engine gave no log-probabilities, though it was asked for them.")
