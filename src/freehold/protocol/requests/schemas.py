"""What a strict JSON schema may ask for: only what the engine's grammars enforce, so that nothing in it is silently dropped.

llama.cpp turns a schema into a grammar and leaves out, without a word, the keywords it has no rule for. OpenAI refuses such
schemas when they are `strict`; so is done here. A schema that is not strict is followed as far as the engine does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_MAX_DEPTH = 100

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


def unenforced(schema: Mapping[str, Any]) -> str | None:
    """What in this schema the engine would not hold the model to, as a sentence with its place; None when it enforces all."""
    for place, found in _walk(schema, "", 0):
        return f"at {place or 'its root'}: {found}"
    return None


def _walk(schema: object, place: str, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, Mapping):
        return  # the engine refuses what is no schema
    if depth > _MAX_DEPTH:
        yield place[:100], f"it is nested deeper than {_MAX_DEPTH}."
        return
    for problem in _problems(schema):
        yield place, problem
    for keyword in ("properties", "$defs", "definitions"):
        children = schema.get(keyword)
        if isinstance(children, Mapping):
            for name, child in children.items():
                yield from _walk(child, f"{place}/{keyword}/{name}", depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        branches = schema.get(keyword)
        if isinstance(branches, list):
            for number, child in enumerate(branches):
                yield from _walk(child, f"{place}/{keyword}/{number}", depth + 1)
    for keyword in ("items", "additionalProperties"):
        yield from _walk(schema.get(keyword), f"{place}/{keyword}", depth + 1)


def _problems(schema: Mapping[str, Any]) -> Iterator[str]:
    unknown = [name for name in schema if name not in _ENFORCED and name not in _SAYS_NOTHING]
    if unknown:
        yield f"{unknown[0]!r} is not enforced."
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if any(name in schema for name in _OF_INTEGERS) and ("integer" not in kinds or "number" in kinds):
        yield "limits are enforced for the type 'integer' only."
    if any(name in schema for name in ("minLength", "maxLength", "pattern", "format")) and "string" not in kinds:
        yield "limits of a string are enforced with the type 'string' only."
    if "$ref" in schema and schema.keys() & _ENFORCED != {"$ref"}:
        yield "nothing is enforced beside '$ref'."
    if "format" in schema and schema["format"] not in _FORMATS:
        yield f"the format {schema['format']!r} is not enforced; these are: {', '.join(_FORMATS)}."
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
        missing = [name for name in required if not isinstance(properties, Mapping) or name not in properties]
        if missing:
            yield f"{missing[0]!r} is required, but not among the properties."


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
