"""Strict schemas: what the engine would silently leave out is refused."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from freehold.errors import InvalidRequest
from freehold.protocol.requests import ChatRequest, parse
from freehold.protocol.requests.schemas import too_large
from freehold.protocol.requests.strict import ENFORCED, SAYS_NOTHING, unenforced

KEYWORDS = sorted(ENFORCED | SAYS_NOTHING | {"not", "multipleOf"})
MESSAGES = [{"role": "user", "content": "hi"}]


def text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


def tagged(kind: str) -> dict[str, Any]:
    """One of a union that is told apart by its kind."""
    properties = {"kind": {"const": kind}, "value": {"type": "integer"}}
    return {"type": "object", "properties": properties, "required": ["kind"], "additionalProperties": False}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "minimum": 3},
        {"type": ["integer", "number"], "maximum": 3},
        {"type": "integer", "multipleOf": 7},
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        {"not": {"type": "string"}},
        {"if": {"type": "string"}, "then": {"minLength": 3}},
        {"minLength": 3},
        {"type": "string", "format": "ipv4"},
        {"type": "string", "pattern": "^a*$", "minLength": 3},
        {"type": "object", "required": ["a"]},
        {"type": "object", "patternProperties": {"^x": {}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/x", "minLength": 1}}, "$defs": {"x": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"type": "array", "items": {"anyOf": [{"type": "string", "format": "uri"}]}}}},
        {"$defs": {"x": {"type": "number", "minimum": 1}}, "$ref": "#/$defs/x"},
        {"oneOf": [{"type": "string"}, {"const": "a"}]},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"oneOf": [tagged("a"), tagged("a")]},
        {"anyOf": [{"type": "string"}], "type": "string"},
        {"anyOf": []},
        {"allOf": [{"type": "string"}]},
        {"allOf": [tagged("a"), tagged("b")]},
        {"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"anyOf": [tagged("a")]}}},
        {"enum": ["a", 1], "type": "string"},
        {"const": 2.5, "type": "integer"},
        {"const": 1, "minimum": 3},
        {"minItems": 3},
        {"required": []},
        {"type": "integer", "minLength": 3},
        {"type": "integer", "minimum": 3, "exclusiveMinimum": 5},
        {"type": "integer", "minimum": 1.5},
        {"type": "integer", "minimum": 5, "maximum": 3},
        {"type": "integer", "maximum": 10**15},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "string", "format": "date", "maxLength": 5},
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"type": "array", "prefixItems": [{}], "items": {}},
        {"type": "array", "prefixItems": [{}], "minItems": 2},
        {"type": "array", "items": False},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": True}},
        {"type": "text"},
        {"type": []},
        {"$ref": "#"},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "other.json"},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {}}},
        {"$ref": "#/$defs/x", "$defs": {"x": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/x"}]}}},
        {"anyOf": [{"$ref": "#/$defs/a-b"}, {"$ref": "#/$defs/a_b"}], "$defs": {"a-b": {}, "a_b": {}}},
        text("^[z-a]$"),
        text("((((") , text("^(((a$"), text("^a)$"), text("[0-9]{3}"), text(r"^\d+$"), text("^a.c$"), text("^[^a]$"),
        text("^(?=a)b$"), text("^(?!a)$"), text("^a|b$"), text("^a+?$"), text("^a**$"), text(r"^\\$"), text('^"$'),
        text("^é$"), text(r"^\n$"), text(r"^\bx$"), text("^[]$"), text("^[a$"), text("^a{,3}$"), text("^"), text(""),
    ],
)  # fmt: skip
def test_what_would_not_be_enforced_is_found(schema: dict[str, Any]) -> None:
    assert unenforced(schema) is not None


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"type": "integer", "minimum": 3, "exclusiveMaximum": 9},
        {"type": ["integer", "null"], "minimum": 40},
        {"type": ["string", "null"], "maxLength": 3},
        {"type": "string", "format": "date-time", "description": "when", "title": "When"},
        {"type": "array", "items": {"enum": ["a", 1, None]}, "minItems": 1, "maxItems": 3},
        {"anyOf": [{"const": 1}, {"$ref": "#/$defs/x"}], "$defs": {"x": {"type": "boolean"}}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"properties": {"a": {"items": {"type": "string"}}}},
        {"type": "array", "prefixItems": [{"type": "integer"}, {}], "minItems": 2, "maxItems": 2},
        {"type": ["integer", "string", "null"], "minimum": 3, "maxLength": 2},
        {"enum": ["a", None], "type": ["string", "null"]},
        {"const": 2.0, "type": "integer"},
        {"oneOf": [{"type": "string"}, {"type": "null"}, {"enum": [1, True]}]},
        {"oneOf": [tagged("a"), tagged("b")], "discriminator": {"propertyName": "kind"}},
        {"oneOf": [{"anyOf": [tagged("a"), {"type": "string"}]}, {"$ref": "#/$defs/b"}], "$defs": {"b": tagged("b")}},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": tagged("a")}},
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        {"allOf": [{"enum": [1, 2]}]},
        {"type": "object", "properties": {"properties": {"type": "string"}, "$ref": {"type": "null"}}},
        text("^[a-z]{3}$"), text("^(?:ab|cd){2,}$"), text(r"^\.\$[0-9]+\.[A-Z]?$"), text("^@[a-zA-Z0-9_]+$"), text("^$"),
        text("^((a|b)+c){1,2}$"),
    ],
)  # fmt: skip
def test_what_is_enforced_passes(schema: dict[str, Any]) -> None:
    assert unenforced(schema) is None


class Inner(BaseModel):
    score: int = Field(ge=0, le=10)
    tag: str = Field(pattern="^[a-z]+$")


class Outer(BaseModel):
    """What the SDK's `parse` sends for a pydantic class."""

    title: str
    inner: Inner
    more: list[Inner] | None = None


def test_schemas_of_pydantic_classes_pass() -> None:
    assert unenforced(Outer.model_json_schema()) is None


def test_a_schema_that_contains_itself_is_no_trouble() -> None:
    assert unenforced({"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}) is None


def recursive(*kinds: object, names: int) -> dict[str, Any]:
    """A union of objects that hold it again under each of many names, told apart by their `kind` alone."""
    value = {"$ref": "#/$defs/value"}

    def one(kind: object) -> dict[str, Any]:
        properties = {**{f"p{n}": value for n in range(names)}, "kind": {"const": kind}}
        return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}

    return {**value, "$defs": {"value": {"oneOf": [one(kind) for kind in kinds]}}}


def many_references() -> dict[str, Any]:
    definitions = {"a": {"anyOf": [{"type": "null"} for _ in range(900)]}}
    return {"type": "array", "prefixItems": [{"$ref": "#/$defs/a"} for _ in range(8000)], "$defs": definitions}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (recursive("add", "not", names=20), None),
        (recursive("add", "add", names=20), "cannot overlap"),
        (many_references(), None),
        ({"oneOf": [{"const": number} for number in range(300)]}, None),
        ({"prefixItems": [{"oneOf": [{"const": n} for n in range(600)]} for _ in range(30)]}, "too many to compare"),
    ],
)
def test_whatever_a_schema_names_it_is_judged_soon(schema: dict[str, Any], said: str | None) -> None:
    """At most half a second of work, where following every path took from seconds to years."""
    assert too_large(schema) is None
    began = time.process_time()
    assert (said or "None") in str(unenforced(schema))
    assert time.process_time() - began < 3


def doubling(levels: int) -> dict[str, Any]:
    """Definitions that name the next one twice: as many ways as two to the power of their number."""
    definitions = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": {"type": "integer"}}}


def chained(levels: int) -> dict[str, Any]:
    """Definitions of which each is the next one; the last is first seen."""
    definitions = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(levels)}
    return {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, f"d{levels}": {"type": "integer"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("small", "large", "word"),
    [
        (nested(90), nested(120), "deeper"),
        (doubling(9), doubling(30), "multiply"),
        (chained(90), chained(3000), "multiply"),
        (doubling(3), {"type": "object", "properties": {"a": doubling(500)}, **doubling(500)}, "multiply"),
        ({"enum": list(range(1000))}, {"anyOf": [{"enum": list(range(600))}] * 2}, "enums"),
        ({"properties": {str(n): {} for n in range(500)}}, {"properties": {str(n): {} for n in range(501)}}, "prop"),
        ({"description": "x" * 100_000}, {"description": "x" * 130_000}, "characters"),
        (text("^" + "a" * 4000 + "$"), text("^" + "a" * 5000 + "$"), "characters"),
        (text("^(a{0,9}b){0,9}$"), text("^((((a{0,40}){0,40}){0,40}){0,40}){0,40}$"), "ways"),
        (text(r"^(?:[a-z)]+|\(x)+$"), text("^(((a|b)*|(a|b)*)*|((a|b)*)*)*$"), "ways"),
    ],
)  # fmt: skip
def test_what_would_keep_the_engine_busy_is_refused(small: dict[str, Any], large: dict[str, Any], word: str) -> None:
    assert too_large(small) is None
    assert word in str(too_large(large))
    for strict in (True, False):
        function = {"name": "f", "parameters": large, "strict": strict}
        raw = json.dumps({"model": "m", "messages": MESSAGES, "tools": [{"type": "function", "function": function}]}).encode()
        with pytest.raises(InvalidRequest, match=word) as raised:
            parse(ChatRequest, raw)
        assert raised.value.code == "invalid_function_parameters"


@pytest.mark.parametrize("strict", [True, False, None])
def test_only_strict_schemas_are_refused(strict: bool | None) -> None:
    schema = {"type": "number", "minimum": 3}
    bodies = {
        "response_format": {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}},
        "tools[0].function.parameters": {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]},
    }
    bodies["response_format"]["response_format"]["json_schema"]["strict"] = strict
    bodies["tools[0].function.parameters"]["tools"][0]["function"]["strict"] = strict
    for param, fields in bodies.items():
        raw = json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode()
        if not strict:
            parse(ChatRequest, raw)
            continue
        with pytest.raises(InvalidRequest, match="limits are enforced for the type 'integer' only") as raised:
            parse(ChatRequest, raw)
        assert raised.value.param == param


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYWORDS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYWORDS), _json, max_size=6))
@settings(deadline=None)
def test_whatever_is_given_is_judged_in_a_short_sentence(schema: dict[str, Any]) -> None:
    assert len(str(too_large(schema))) < 1000
    assert len(str(unenforced(schema))) < 1000


def test_hostile_values_are_neither_trouble_nor_repeated_at_length() -> None:
    for schema in (
        {"required": [{}, []], "properties": {"a": {}}},
        {"required": ["x" * 100_000]},
        {"x" * 100_000: 1},
        {"type": "string", "format": "x" * 100_000},
        {"type": "string", "format": {"a": []}},
        {"type": [{}, []], "minimum": {}},
        {"properties": {"x" * 100_000: {"not": {}}}},
    ):
        assert 0 < len(str(unenforced(schema))) < 500
