"""Schemas as the engine's grammars hold a model to them, where what the user wrote would mean something else there."""

from __future__ import annotations

import re
from typing import Any

_DATA = ("const", "enum", "default", "examples")  # keywords whose values are no schemas
_NAMED = ("properties", "patternProperties", "$defs", "definitions")  # those that have schemas by names of the user's
_LOWEST, _HIGHEST = -(10**16) + 1, 10**16 - 1  # of the integers that the engine's grammars know
_LEAST, _MOST = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}


def engine_schema(schema: dict[str, Any], place: str = "#") -> dict[str, Any]:
    """The schema, to stand at that place of another one: its references lead from there.

    An integer with one limit gets a second one, as far as the engine counts: with a single limit llama.cpp lets through other
    numbers (13 for a minimum of 100), and ones that begin with a zero, which JSON does not know.
    """
    made = dict(schema)
    for name, item in schema.items():
        if name in _NAMED and isinstance(item, dict):
            made[name] = {own: _within(child, place) for own, child in item.items()}
        elif name not in _DATA:
            made[name] = _within(item, place)
    reference = schema.get("$ref")
    if isinstance(reference, str) and re.match("#(/|$)", reference):
        made["$ref"] = place + reference[1:]
    kinds = schema.get("type")
    if kinds == "integer" or (isinstance(kinds, list) and "integer" in kinds and "number" not in kinds):
        least, most = schema.keys() & _LEAST, schema.keys() & _MOST
        if least and not most:
            made["maximum"] = _HIGHEST
        if most and not least:
            made["minimum"] = _LOWEST
    return made


def _within(value: Any, place: str) -> Any:
    if isinstance(value, list):
        return [_within(item, place) for item in value]
    return engine_schema(value, place) if isinstance(value, dict) else value
