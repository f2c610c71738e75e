"""What a strict JSON schema may ask for: only what the engine's grammars enforce, so that nothing in it is silently dropped.

llama.cpp turns a schema into a grammar and leaves out, without a word, the keywords it has no rule for. OpenAI refuses such
schemas when they are `strict`; so is done here. A schema that is not strict is followed as far as the engine does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from freehold.protocol.requests.common import shown

# Grammars grow with the square of these: beyond them, making one would keep the engine from everybody's answers for seconds.
_MOST_PROPERTIES = 500
_MOST_VALUES = 1000
_MOST_TEXT = 120_000
_MOST_NESTED = 100
_MOST_WAYS = 1000

_SAYS_NOTHING = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "$schema", "$id", "$comment", "$anchor", "$defs", "definitions",
}  # fmt: skip
_ENFORCED = {
    "$ref", "anyOf", "oneOf", "allOf", "const", "enum", "type", "properties", "required", "additionalProperties", "items",
    "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "pattern", "format",
    "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum",
}  # fmt: skip
_OF_INTEGERS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
_FORMATS = ("date", "date-time", "time", "uuid")

# What the engine's regular expressions are: literals, classes that list their characters, groups, alternatives, repetition.
# Wildcards and negated classes would let a quote through and so break the JSON.
_TOKEN = re.compile(
    r"""(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<or>\|)
    |(?: [A-Za-z0-9 _\-!#%&',/:;<=>@`~] | \\[\^$.\[\]()|{}*+?] | \[(?:[A-Za-z0-9 _\-!#%&',/:;<=>@`~.$()|{}*+?]|\\\])+\] )""",
    re.VERBOSE,
)
_REPEAT = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}")


def too_large(schema: Mapping[str, Any]) -> str | None:
    """What there is too much of in this schema, as a sentence; None when it is of a size that can be served."""
    properties = values = text = 0
    left: list[tuple[object, int]] = [(schema, 0)]
    while left:
        node, depth = left.pop()
        if depth > _MOST_NESTED:
            return f"it is nested deeper than {_MOST_NESTED} levels."
        if isinstance(node, str):
            text += len(node)
        elif isinstance(node, list):
            left += [(child, depth + 1) for child in node]
        elif isinstance(node, Mapping):
            properties += len(named) if isinstance(named := node.get("properties"), Mapping) else 0
            values += len(listed) if isinstance(listed := node.get("enum"), list) else 0
            text += sum(map(len, node))
            left += [(child, depth + 1) for child in node.values()]
    for count, most, what in (
        (properties, _MOST_PROPERTIES, "properties"),
        (values, _MOST_VALUES, "values in its enums"),
        (text, _MOST_TEXT, "characters of names and texts"),
    ):
        if count > most:
            return f"it has {count:,} {what}; {most:,} are served."
    if _Ways(schema).most() > _MOST_WAYS:
        return f"its choices and references multiply to more than {_MOST_WAYS:,} at one place."
    return None


class _Ways:
    """In how many ways a value may begin, counting each path through anyOf, oneOf and $ref: the engine follows every one of
    them, and a few definitions that name each other twice make billions."""

    def __init__(self, root: Mapping[str, Any]):
        self._root = root
        self._known: dict[int, int] = {}

    def most(self) -> int:
        """The greatest number at any place of the schema."""
        most, left = 0, [self._root]
        while left and most <= _MOST_WAYS:
            node = left.pop()
            if isinstance(node, Mapping):
                most = max(most, self._of(node, 0))
                left += node.values()
            elif isinstance(node, list):
                left += node
        return most

    def _of(self, node: object, depth: int) -> int:
        if not isinstance(node, Mapping):
            return 1
        if depth > _MOST_NESTED:
            return _MOST_WAYS + 1
        known = self._known.get(id(node))
        if known is None:
            self._known[id(node)] = 1  # where it comes back to itself
            branches = [branch for key in ("anyOf", "oneOf") if isinstance(found := node.get(key), list) for branch in found]
            ways = sum(self._of(branch, depth + 1) for branch in branches) if branches else 1
            if isinstance(node.get("$ref"), str):
                ways *= self._of(self._target(node["$ref"]), depth + 1)
            known = self._known[id(node)] = min(ways, _MOST_WAYS + 1)
        return known

    def _target(self, reference: str) -> object:
        node: object = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            node = node.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
        return node


def unenforced(schema: Mapping[str, Any]) -> str | None:
    """What in a schema of a servable size the engine would not hold the model to, as a sentence with its place; None when it
    enforces all."""
    for place, found in _walk(schema, ""):
        return f"at {place[:200] or 'its root'}: {found}"
    return None


def _walk(schema: object, place: str) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, Mapping):
        return  # the engine refuses what is no schema
    for problem in _problems(schema):
        yield place, problem
    for keyword in ("properties", "$defs", "definitions"):
        children = schema.get(keyword)
        if isinstance(children, Mapping):
            for name, child in children.items():
                yield from _walk(child, f"{place}/{keyword}/{name}")
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        branches = schema.get(keyword)
        if isinstance(branches, list):
            for number, child in enumerate(branches):
                yield from _walk(child, f"{place}/{keyword}/{number}")
    for keyword in ("items", "additionalProperties"):
        yield from _walk(schema.get(keyword), f"{place}/{keyword}")


def _problems(schema: Mapping[str, Any]) -> Iterator[str]:
    unknown = [name for name in schema if name not in _ENFORCED and name not in _SAYS_NOTHING]
    if unknown:
        yield f"{shown(unknown[0])} is not enforced."
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if any(name in schema for name in _OF_INTEGERS) and ("integer" not in kinds or "number" in kinds):
        yield "limits are enforced for the type 'integer' only."
    if any(name in schema for name in ("minLength", "maxLength", "pattern", "format")) and "string" not in kinds:
        yield "limits of a string are enforced with the type 'string' only."
    if "$ref" in schema and schema.keys() & _ENFORCED != {"$ref"}:
        yield "nothing is enforced beside '$ref'."
    if "format" in schema and schema["format"] not in _FORMATS:
        yield f"the format {shown(schema['format'])} is not enforced; these are: {', '.join(_FORMATS)}."
    if "pattern" in schema:
        if schema.keys() & {"minLength", "maxLength", "format"}:
            yield "beside 'pattern', other limits of the string are not enforced."
        if not isinstance(schema["pattern"], str) or not _simple(schema["pattern"]):
            yield (
                "this 'pattern' is not enforced. Those that are begin with ^, end with $ and hold literals, [classes] that "
                "list their characters, groups, | within groups, and repetition: [0-9] instead of \\d."
            )
    required, properties = schema.get("required"), schema.get("properties")
    if isinstance(required, list):
        known = set(properties) if isinstance(properties, Mapping) else set()
        missing = [name for name in required if not isinstance(name, str) or name not in known]
        if missing:
            yield f"{shown(missing[0])} is required, but not among the properties."


def _simple(pattern: str) -> bool:
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return False
    at, end, depth = 1, len(pattern) - 1, 0
    while at < end:
        token = _TOKEN.match(pattern, at, end)
        if token is None or (token["or"] and not depth) or (token["close"] and not depth):
            return False
        depth += bool(token["open"]) - bool(token["close"])
        at = token.end()
        if not (token["open"] or token["or"]) and (repeat := _REPEAT.match(pattern, at, end)):
            at = repeat.end()
    return depth == 0
