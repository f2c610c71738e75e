"""JSON with comments, edited in place: a value is set or taken out, and every other byte of the text stays.

The format is that of VS Code's and Zed's settings: JSON, `//` and `/* */` comments, commas before a closing bracket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# A step of a path: the name of a member, or (name, value) for the object in a list that has that member.
Step = str | tuple[str, str]
Path = Sequence[Step]

_TRIVIA = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_REST_OF_LINE = re.compile(r"(?:[ \t]+|/\*[^\n]*?\*/)*(?://[^\r\n]*)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"[-+\w.]+")
_DEEPEST = 100


class NotJson(ValueError):
    """The text is not JSON with comments, or has something else where a path leads through; the message says where."""


@dataclass
class Node:
    """A value from `start` to `end` in the text; `entries` are the members of an object or the items of a list."""

    kind: Literal["object", "list", "scalar"]
    start: int
    end: int = 0
    entries: list[Entry] = field(default_factory=list)


@dataclass
class Entry:
    """A member or an item; `comma` is where the comma behind it is."""

    start: int
    key: str | None
    value: Node
    comma: int | None = None


def parse(text: str) -> Node:
    """Raises NotJson."""
    reader = _Reader(text)
    node = reader.value(0)
    if reader.skip() < len(text):
        raise reader.wrong("something follows the end")
    return node


def value_of(text: str) -> Any:
    """The text as a value. Raises NotJson."""
    return _value(text, parse(text))


def raw_at(text: str, path: Path) -> str | None:
    """The text of the value at a path, None where there is none. Raises NotJson."""
    chain = _chain(text, path)
    return text[chain[-1].start : chain[-1].end] if len(chain) == len(path) + 1 else None


def with_value(text: str, path: Path, value: Any) -> str:
    """The text with the value at the path, whose missing objects and lists are made. Raises NotJson."""
    if not text.strip():
        text = ("[" if isinstance(path[0], tuple) else "{") + "\n" + ("]" if isinstance(path[0], tuple) else "}") + "\n"
    chain = _chain(text, path)
    depth = len(chain) - 1
    if depth == len(path):
        node = chain[-1]
        indent = _indent_of(text, node.start)
        return text[: node.start] + _rendered(text, value, indent) + text[node.end :]
    for step in reversed(path[depth + 1 :]):
        value = [value] if isinstance(step, tuple) else {step: value}
    return _inserted(text, chain[-1], path[depth], value)


def with_raw(text: str, path: Path, raw: str) -> str:
    """The text with another text for the value that is at the path. Raises NotJson."""
    chain = _chain(text, path)
    if len(chain) != len(path) + 1:
        return text
    return text[: chain[-1].start] + raw + text[chain[-1].end :]


def without(text: str, path: Path) -> str:
    """The text without the member or item at the path, with the line it stood on. Raises NotJson."""
    chain = _chain(text, path)
    if len(chain) != len(path) + 1:
        return text
    holder, gone = chain[-2], chain[-1]
    index = next(i for i, entry in enumerate(holder.entries) if entry.value is gone)
    entry = holder.entries[index]
    start = _line_start(text, entry.start)
    if entry.comma is not None:
        return text[:start] + text[entry.comma + 1 :]
    if index == 0:
        return text[:start] + text[gone.end :]
    comma = holder.entries[index - 1].comma
    assert comma is not None  # noqa: S101 - there is one between two entries
    return text[:comma] + text[comma + 1 : start] + text[gone.end :]


def is_empty(text: str, path: Path) -> bool:
    """Whether there is an object or a list without entries at the path."""
    chain = _chain(text, path)
    return len(chain) == len(path) + 1 and chain[-1].kind != "scalar" and not chain[-1].entries


class _Reader:
    def __init__(self, text: str):
        self._text = text
        self._at = 1 if text.startswith("\ufeff") else 0

    def skip(self) -> int:
        found = _TRIVIA.match(self._text, self._at)
        assert found  # noqa: S101 - the pattern matches nothing, too
        self._at = found.end()
        return self._at

    def wrong(self, what: str) -> NotJson:
        return NotJson(f"line {self._text.count(chr(10), 0, self._at) + 1}: {what}")

    def value(self, depth: int) -> Node:
        self.skip()
        if depth > _DEEPEST:
            raise self.wrong("too many brackets within brackets")
        match self._text[self._at : self._at + 1]:
            case "{":
                return self._entries(Node("object", self._at), "}", depth)
            case "[":
                return self._entries(Node("list", self._at), "]", depth)
        return Node("scalar", self._at, self._end_of_scalar())

    def _end_of_scalar(self) -> int:
        found = _STRING.match(self._text, self._at) or _WORD.match(self._text, self._at)
        try:
            if found:
                json.loads(found[0])
                self._at = found.end()
                return self._at
        except ValueError:
            pass
        raise self.wrong("a value is missing or is not JSON's")

    def _entries(self, node: Node, closing: str, depth: int) -> Node:
        self._at += 1
        while True:
            start = self.skip()
            if self._text.startswith(closing, start):
                self._at = node.end = start + 1
                return node
            if node.entries and node.entries[-1].comma is None:
                raise self.wrong("a comma is missing")
            key = self._key() if node.kind == "object" else None
            entry = Entry(start, key, self.value(depth + 1))
            node.entries.append(entry)
            if self._text.startswith(",", self.skip()):
                entry.comma = self._at
                self._at += 1

    def _key(self) -> str:
        found = _STRING.match(self._text, self._at)
        if not found:
            raise self.wrong("a member's name is missing")
        self._at = found.end()
        if not self._text.startswith(":", self.skip()):
            raise self.wrong("a colon is missing")
        self._at += 1
        try:
            return str(json.loads(found[0]))
        except ValueError:
            raise self.wrong("a member's name is not JSON's") from None


def _value(text: str, node: Node) -> Any:
    if node.kind == "object":
        return {entry.key: _value(text, entry.value) for entry in node.entries}
    if node.kind == "list":
        return [_value(text, entry.value) for entry in node.entries]
    return json.loads(text[node.start : node.end])


def _chain(text: str, path: Path) -> list[Node]:
    """The nodes along the path, from the root as far as there are some."""
    node = parse(text)
    chain = [node]
    for step in path:
        wanted = "list" if isinstance(step, tuple) else "object"
        if node.kind != wanted:
            raise NotJson(f"line {text.count(chr(10), 0, node.start) + 1}: there is no {wanted} here")
        found = [entry.value for entry in node.entries if _is(text, entry, step)]
        if not found:
            break
        node = found[-1]  # of members with one name, readers take the last
        chain.append(node)
    return chain


def _is(text: str, entry: Entry, step: Step) -> bool:
    if isinstance(step, str):
        return entry.key == step
    name, value = step
    return any(member.key == name and _value(text, member.value) == value for member in entry.value.entries)


def _inserted(text: str, node: Node, step: Step, value: Any) -> str:
    """The text with one entry more at the end of an object or a list."""
    last = node.entries[-1] if node.entries else None
    outer = _indent_of(text, node.start)
    indent = _indent_of(text, last.start) if last and _begins_line(text, last.start) else outer + _unit(text)
    eol = "\r\n" if "\r\n" in text else "\n"
    name = f"{json.dumps(step, ensure_ascii=False)}: " if isinstance(step, str) else ""
    written = eol + indent + name + _rendered(text, value, indent)
    if last is None:
        at = _rest_of_line(text, node.start + 1)
        closing = "" if text[at : at + 1] in ("\n", "\r") else eol + outer
        return text[:at] + written + closing + text[at:]
    if last.comma is not None:
        at = _rest_of_line(text, last.comma + 1)
        return text[:at] + written + "," + text[at:]
    end = last.value.end
    at = _rest_of_line(text, end)
    return text[:end] + "," + text[end:at] + written + text[at:]


def _rendered(text: str, value: Any, indent: str) -> str:
    lines = json.dumps(value, indent=_unit(text), ensure_ascii=False).split("\n")
    return (("\r\n" if "\r\n" in text else "\n") + indent).join(lines)


def _unit(text: str) -> str:
    """One step of indent, as the text has it."""
    found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return found[1] if found and len(found[1]) <= 8 else "  "


def _rest_of_line(text: str, at: int) -> int:
    """Behind blanks and comments that stand on the same line; at the end of the blanks' beginning where code follows."""
    found = _REST_OF_LINE.match(text, at)
    assert found  # noqa: S101 - the pattern matches nothing, too
    end = found.end()
    return end if text[end : end + 1] in ("\n", "\r", "") else at


def _begins_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip(" \t")


def _indent_of(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 :]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _line_start(text: str, at: int) -> int:
    """Where the line end before an entry is, when nothing but blanks is between."""
    if not _begins_line(text, at):
        return at
    newline = text.rfind("\n", 0, at)
    if newline < 0:
        return at
    return newline - 1 if newline and text[newline - 1] == "\r" else newline
