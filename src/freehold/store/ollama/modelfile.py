"""Ollama's Modelfiles (docs/modelfile.md and parser/parser.go in ollama/ollama): instructions, one a line, whose text may be
in quotes and then span lines."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from freehold.errors import InvalidRequest
from freehold.store.ollama.parameters import number_of

_INSTRUCTION = re.compile(r"[ \t]*([A-Za-z]+)[ \t]+", re.ASCII)
_QUOTES = ('"""', '"')


@dataclass
class Modelfile:
    """What a Modelfile says; None where it says nothing."""

    base: str | None = None
    system: str | None = None
    template: str | None = None
    license: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)


def modelfile(text: str) -> Modelfile:
    """Raises InvalidRequest, naming the line, for what is none, and for instructions that are not served."""
    made = Modelfile()
    for line, word, value in _instructions(text):
        match word:
            case "FROM":
                made.base = value.strip()
            case "SYSTEM":
                made.system = value
            case "TEMPLATE":
                made.template = value
            case "LICENSE":
                made.license = value
            case "PARAMETER":
                _parameter(made.parameters, value, line)
            case "ADAPTER":
                raise _wrong(line, "send the adapter to /api/blobs, and name it in 'adapters'")
            case "MESSAGE":
                role, _, said = value.partition(" ")
                made.messages.append({"role": role.lower(), "content": said})
            case "REQUIRES":
                continue  # a version of Ollama's
            case _:
                raise _wrong(line, f"there is no instruction {word[:40]!a}")
    return made


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, instruction, its text) one after the other."""
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text.count("\n", 0, at) + 1
        row = text[at:end]
        if not row.strip() or row.lstrip().startswith("#"):
            at = end + 1
            continue
        found = _INSTRUCTION.match(text, at, end)
        if found is None:
            raise _wrong(line, "it is no instruction with a text")
        word, start = found[1].upper(), found.end()
        prefix = ""
        if word in ("PARAMETER", "MESSAGE") and (key := re.compile(r"\S+[ \t]+").match(text, start, end)):
            prefix, start = key[0].strip() + " ", key.end()
        value, at = _value(text, start, end, line)
        yield line, word, prefix + value


def _value(text: str, start: int, end: int, line: int) -> tuple[str, int]:
    """A text and where the next line begins. In quotes, it goes to the closing ones."""
    for quote in _QUOTES:
        if text.startswith(quote, start):
            close = text.find(quote, start + len(quote))
            if close < 0 or (quote == '"' and close > end):
                if quote == '"':
                    break  # one that is part of the text
                raise _wrong(line, "its quotes are not closed")
            after = text.find("\n", close)
            return text[start + len(quote) : close], len(text) if after < 0 else after + 1
    return text[start:end].strip(), end + 1


def _parameter(parameters: dict[str, Any], text: str, line: int) -> None:
    name, _, value = text.partition(" ")
    name = name.lower()
    if not value:
        raise _wrong(line, "a parameter has a name and a value")
    if name == "stop":
        parameters.setdefault("stop", []).append(value)
        return
    parameters[name] = value
    with contextlib.suppress(ValueError):
        parameters[name] = number_of(value)


def _wrong(line: int, what: str) -> InvalidRequest:
    return InvalidRequest(f"Line {line} of the Modelfile: {what}.", param="modelfile", code="invalid_value")
