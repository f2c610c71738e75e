"""Answers that are a tool call, or that or an answer in a format: a JSON schema for the whole, and OpenAI's deltas of it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

from freehold.protocol.engine_schemas import engine_schema
from freehold.protocol.requests.messages import Tool

_BEGINNING = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*')


def forced_schema(tools: Sequence[Tool], answer: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of a call of one of these tools: {"name": its name, "arguments": what its parameters say}. With `answer`, the
    schema of such a call or of an answer, as the model chooses."""
    if len(tools) == 1 and answer is None:
        return _call(tools[0], "#")
    ways = [_call(tool, f"#/anyOf/{number}") for number, tool in enumerate(tools)]
    return {"anyOf": ways if answer is None else [*ways, engine_schema(answer, f"#/anyOf/{len(ways)}")]}


def _call(tool: Tool, place: str) -> dict[str, Any]:
    """`place` is where this schema will be."""
    parameters = engine_schema(tool.function.parameters or {"type": "object"}, f"{place}/properties/arguments")
    return {
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


class ForcedCall:
    """Turns the text of such an answer, as it comes, into tool-call deltas. The arguments pass as the model wrote them."""

    def __init__(self) -> None:
        self.id = f"call_{secrets.token_hex(12)}"
        self.name: str | None = None
        self.arguments = ""
        self._text = ""  # what has come and is not told yet

    def feed(self, text: str) -> list[dict[str, Any]]:
        """The deltas that follow from some more text."""
        self._text += text
        deltas = []
        if self.name is None:
            found = _BEGINNING.match(self._text)
            if found is None:
                return []
            self.name, self._text = found[1], self._text[found.end() :]
            deltas.append(self._delta({"name": self.name, "arguments": ""}, first=True))
        if not self.arguments:
            self._text = self._text.lstrip()
        # The last brace may be the one that closes the call itself, so it waits until more comes, and the space before it.
        held = self._text.rstrip()
        return deltas + self._tell(held.removesuffix("}").rstrip() if held.endswith("}") else self._text)

    def end(self, complete: bool) -> list[dict[str, Any]]:
        """The deltas of what was held back. An answer cut short by its limit leaves the arguments as far as they came."""
        deltas = []
        if self.name is None:
            self.name = ""
            deltas.append(self._delta({"name": "", "arguments": ""}, first=True))
            self._text = ""
        rest = self._text.rstrip()
        return deltas + self._tell(rest.removesuffix("}").rstrip() if complete else rest)

    @property
    def called(self) -> bool:
        """Whether it is a call."""
        return True

    def whole(self) -> dict[str, Any]:
        """The complete message's fields, after `end`."""
        function = {"name": self.name or "", "arguments": self.arguments}
        return {"content": None, "tool_calls": [{"id": self.id, "type": "function", "function": function}]}

    def _tell(self, piece: str) -> list[dict[str, Any]]:
        if not piece:
            return []
        self._text = self._text[len(piece) :]
        self.arguments += piece
        return [self._delta({"arguments": piece})]

    def _delta(self, function: dict[str, str], first: bool = False) -> dict[str, Any]:
        head = {"index": 0, "id": self.id, "type": "function"} if first else {"index": 0}
        return {"tool_calls": [{**head, "function": function}]}


class CallOrAnswer(ForcedCall):
    """The same where the model may answer in a format instead. Its text is held back until it is known which of both it is."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        super().__init__()
        self._beginnings = [f'{{"name":"{tool.function.name}","arguments":' for tool in tools]
        self._answer: str | None = None

    @property
    def called(self) -> bool:
        return self._answer is None

    def feed(self, text: str) -> list[dict[str, Any]]:
        if self.name is None and self._answer is None and not self._open(self._text + text):
            self._answer, text, self._text = "", self._text + text, ""
        return super().feed(text) if self._answer is None else self._tell_answer(text)

    def end(self, complete: bool) -> list[dict[str, Any]]:
        if self.name is None and self._answer is None:
            self._answer, text, self._text = "", self._text, ""
            return self._tell_answer(text)
        return super().end(complete) if self._answer is None else []

    def whole(self) -> dict[str, Any]:
        return super().whole() if self._answer is None else {"content": self._answer}

    def _open(self, text: str) -> bool:
        """Whether what begins like this is a call, or may become one."""
        compact = re.sub(r"\s", "", text)
        if any(beginning.startswith(compact) for beginning in self._beginnings):
            return True
        return _BEGINNING.match(text) is not None and compact.startswith(tuple(self._beginnings))

    def _tell_answer(self, text: str) -> list[dict[str, Any]]:
        self._answer = (self._answer or "") + text
        return [{"content": text}] if text else []
