"""Answers to strict schemas always parse and fit them: random schemas of all that is served, through the real engine, on a
model whose weights are random, so that it says whatever the schema's grammar lets through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.protocol.requests.schemas import too_large
from freehold.protocol.requests.strict import ENFORCED, unenforced
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo import shapes, tokenizers
from tests.zoo.build import write

Schema = dict[str, Any]
TOKENIZER = tokenizers.bpe("qwen2")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | length }}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MESSAGES = [{"role": "user", "content": "x"}]


def _letter(byte: int) -> str:
    return str(TOKENIZER.tokens.index(tokenizers._letters_of_bytes()[byte]))


# What ends things is likelier, blanks are less so. Half letters are left out: the engine does not read answers of broken ones.
BIAS = {_letter(byte): -100 for byte in range(128, 256)} | {
    _letter(ord(sign)): bias for sign, bias in {'"': 5, "}": 2, "]": 2, " ": -6, "\n": -6, "\t": -6}.items()
}

NAMES = ("a", "b", "a_b", "a-b", "x y", "space", "root", "char", 'q"q', "a.b", "$ref", "default", "type", "/")
PATTERNS = (
    *("^[a-z]{1,3}$", "^(?:ab|cd){1,2}$", r"^\.\$[0-9]+\.[A-Z]?$", "^$", "^((a|b)+c){1,2}$", "^a{0,2}$", "^[a-]$", "^[-a]$"),
    *("^(a|)$", "^[/]$", "^%{2}$", r"^[\]]+x$", "^[0-9]{2}-[0-9]{2}$", "^(a|b|cd)*e$", "^[.*+?()|]{3}$"),
)
TEXTS = st.text(alphabet='ab {}[]"\\/:,', max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.sampled_from([0.5, -2.25, 1e9]) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)


@st.composite
def integers(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": draw(st.sampled_from(["integer", ["integer", "null"], ["string", "integer"]]))}
    for names in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if name := draw(st.sampled_from([*names, None])):
            schema[name] = draw(
                st.integers(-12, 12) | st.integers(-(10**6), 10**6) | st.sampled_from([99, 100, 101, -1, 10**14])
            )
    return schema


@st.composite
def strings(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": draw(st.sampled_from(["string", ["string", "null"]]))}
    match draw(st.sampled_from(["plain", "lengths", "pattern", "format"])):
        case "lengths":
            schema |= draw(st.fixed_dictionaries({}, optional={"minLength": st.integers(0, 4), "maxLength": st.integers(0, 9)}))
        case "pattern":
            schema["pattern"] = draw(st.sampled_from(PATTERNS))
        case "format":
            schema["format"] = draw(st.sampled_from(["date", "time", "date-time", "uuid"]))
    return schema


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(st.sampled_from(NAMES), inner, max_size=4))
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    schema["required"] = [name for name in properties if draw(st.booleans())]
    if not properties and draw(st.booleans()):
        return {"type": "object", "additionalProperties": draw(inner)}
    return schema


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    if draw(st.booleans()):
        return {"type": "array", "prefixItems": draw(st.lists(inner, min_size=1, max_size=3))}
    least = draw(st.integers(0, 2))
    return {"type": "array", "items": draw(inner), "minItems": least, "maxItems": least + draw(st.integers(0, 2))}


def tagged(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """As pydantic's discriminated unions."""

    def union(values: list[Schema]) -> Schema:
        kinds = [
            {
                "type": "object",
                "properties": {"kind": {"const": f"k{number}"}, "value": value},
                "required": ["kind", "value"],
                "additionalProperties": False,
            }
            for number, value in enumerate(values)
        ]
        return {"oneOf": kinds, "discriminator": {"propertyName": "kind"}}

    return st.lists(inner, min_size=1, max_size=3).map(union)


SIMPLE = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "number"}, {}, {"type": ["boolean", "null"]}]),
    integers(),
    strings(),
    st.lists(VALUES, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    VALUES.map(lambda value: {"const": value}),
    st.sampled_from(["d", "e_f", "e.g"]).map(lambda name: {"$ref": f"#/$defs/{name}"}),
)
NODES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        objects(inner),
        arrays(inner),
        tagged(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda several: {"anyOf": several}),
        st.lists(inner, min_size=1, max_size=2).map(lambda several: {"oneOf": several}),
        objects(inner).map(lambda one: {"allOf": [one]}),
    ),
    max_leaves=6,
)
# A schema may say anything beside what it says; what then is not enforced must be refused.
STRAY = st.none() | st.tuples(st.sampled_from(sorted(ENFORCED)), VALUES | SIMPLE | st.lists(SIMPLE, max_size=2))


@st.composite
def documents(draw: st.DrawFn) -> Schema:
    value = draw(NODES)
    if stray := draw(STRAY):
        value = {stray[0]: stray[1]} | value if draw(st.booleans()) else value | {stray[0]: stray[1]}
    chain = {"type": "object", "properties": {"v": draw(SIMPLE), "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/d"}]}}}
    definitions = {
        "d": chain | {"required": ["v", "next"], "additionalProperties": False},
        "e_f": draw(SIMPLE),
        "e.g": draw(NODES),
    }
    return {
        "type": "object",
        "properties": {"value": value},
        "required": ["value"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def is_served(schema: Schema) -> bool:
    """What is no schema at all, the engine says."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError:
        return False
    return too_large(schema) is None and unenforced(schema) is None


SERVED = documents().filter(is_served)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("strict")
    fake_model(data)
    shape = shapes._decoder("tiny", "llama", TOKENIZER, shapes._plain)
    path = write(
        replace(shape, template=TEMPLATE, keys={**shape.keys, "context_length": 4096}), tmp_path_factory.mktemp("file")
    )
    pull(Store(data), str(path), name="tiny", on_progress=lambda progress: None)
    env = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_ENGINE_CONTEXT": "4096",
        "FREEHOLD_ENGINE_SLOTS": "1",
    }
    with serving(data, env=env, ready=False) as running:
        yield running


def answered(server: Server, **fields: Any) -> dict[str, Any] | None:
    """The first choice; None for one that its limit cut, which nothing is promised of."""
    body = {"model": "tiny", "messages": MESSAGES, "temperature": 1, "seed": 1, "max_tokens": 600, "logit_bias": BIAS, **fields}
    status, _, answer = server.post("/v1/chat/completions", body)
    assert status == 200, answer
    choice = answer["choices"][0]
    return None if choice["finish_reason"] == "length" else dict(choice)


HOSTILE = {
    "nested repetition": {"type": "string", "pattern": "^(((((a{0,40}){0,40}){0,40}){0,40}){0,40}){0,40}$"},
    "optional letters": {"type": "string", "pattern": "^" + "a?" * 500 + "a{500}$"},
    "optional groups": {"type": "string", "pattern": "^" + "(a|b)?" * 400 + "$"},
    "a long text": {"type": "string", "minLength": 10**6},
    "long arrays": {"type": "array", "items": {"type": "array", "items": {}, "maxItems": 1900}, "maxItems": 1900},
    "many properties": {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(500)}},
    "many others": {"type": "object", "properties": {"p" * number: {} for number in range(400)}, "additionalProperties": True},
    "itself": {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}},
    "no integer": {"type": "integer", "minimum": 10**400},
}
GRAMMARS = {
    "nested repetition": 'root ::= (("a"{0,1000}){0,1000}){0,1000}',
    "optional letters": "root ::= " + '"a"? ' * 400,
    "itself": 'root ::= a\na ::= a "x"',
    "parentheses": "root ::= " + "(" * 9000 + '"a"' + ")" * 9000,
    "nothing": "root ::= x",
}


@pytest.mark.parametrize("name", [*HOSTILE, *(f"grammar: {name}" for name in GRAMMARS)])
def test_what_is_made_to_keep_the_engine_busy_is_answered_soon_and_ends_nobody(server: Server, name: str) -> None:
    """Alone it takes 1.3 s at most on two cores; here others may run beside it."""
    answered(server, max_tokens=1)
    before = server.worker("tiny")["pid"]
    body: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 2}
    if name.startswith("grammar: "):
        body["grammar"] = GRAMMARS[name.removeprefix("grammar: ")]
    else:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "s", "schema": HOSTILE[name]}}
    status, _, answer = server.post("/v1/chat/completions", body, timeout=20)
    assert status == 200 or (status, answer["error"]["type"]) == (400, "invalid_request_error"), answer
    assert server.worker("tiny")["pid"] == before


ENOUGH = settings(
    derandomize=True, max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)  # always the same ones


def fits(text: str, schema: Schema) -> bool:
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))
    return True


def test_answers_fit_their_schemas(server: Server) -> None:
    whole = 0

    @ENOUGH
    @given(SERVED)
    def each(schema: Schema) -> None:
        nonlocal whole
        named = {"name": "s", "strict": True, "schema": schema}
        choice = answered(server, response_format={"type": "json_schema", "json_schema": named})
        whole += choice is not None and fits(choice["message"]["content"], schema)

    each()
    assert whole > 80


def test_arguments_of_calls_that_must_be_made_fit_theirs(server: Server) -> None:
    whole = 0

    @settings(ENOUGH, max_examples=40)
    @given(st.lists(SERVED, min_size=1, max_size=2))
    def each(schemas: list[Schema]) -> None:
        nonlocal whole
        tools = [
            {"type": "function", "function": {"name": f"f{number}", "parameters": schema, "strict": True}}
            for number, schema in enumerate(schemas)
        ]
        choice = answered(server, tools=tools, tool_choice="required")
        if choice is not None:
            call = choice["message"]["tool_calls"][0]["function"]
            whole += fits(call["arguments"], schemas[int(call["name"][1:])])

    each()
    assert whole > 25
