"""From what engines say to what OpenAI's clients read: joiners, forced calls, events, errors. No I/O."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.errors import ContextLengthExceeded, EngineBadResponse, FreeholdError, InvalidRequest, ModelFailed
from freehold.protocol import sse
from freehold.protocol.engine_errors import from_engine
from freehold.protocol.engine_schemas import engine_schema
from freehold.protocol.forced import CallOrAnswer, ForcedCall, forced_schema
from freehold.protocol.requests import ChatRequest, parse
from freehold.protocol.requests.messages import FunctionDefinition, Tool
from freehold.protocol.values import Usage


def read(reader: ForcedCall, pieces: list[str], complete: bool = True) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The whole message and its deltas, for an answer that comes in these pieces."""
    deltas = []
    for piece in pieces:
        deltas += reader.feed(piece)
    deltas += reader.end(complete)
    return reader.whole(), deltas


def call_of(text: str, pieces: list[str], complete: bool = True) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The whole call and its deltas."""
    assert "".join(pieces) == text
    message, deltas = read(ForcedCall(), pieces, complete)
    assert message["content"] is None
    return message["tool_calls"][0], deltas


def cut(text: str, seed: int) -> list[str]:
    chance, pieces = random.Random(seed), []
    while text:
        length = chance.randint(1, 6)
        pieces.append(text[:length])
        text = text[length:]
    return pieces


def test_what_a_tool_refers_to_is_found_within_the_call() -> None:
    reference = {"$ref": "#/$defs/colour"}
    parameters = {
        "type": "object",
        "properties": {"default": reference, "all": {"items": [reference]}, "own": {"const": reference}, "root": {"$ref": "#"}},
        "$defs": {"colour": {"enum": ["red"]}},
    }
    tools = [Tool(type="function", function=FunctionDefinition(name=name, parameters=parameters)) for name in "ab"]
    for schema, place in (
        (forced_schema(tools[:1]), "#/properties/arguments"),
        (forced_schema(tools)["anyOf"][1], "#/anyOf/1/properties/arguments"),
    ):
        moved, there = schema["properties"]["arguments"], {"$ref": f"{place}/$defs/colour"}
        assert moved["properties"] == {
            "default": there,
            "all": {"items": [there]},
            "own": {"const": reference},
            "root": {"$ref": place},
        }
        assert moved["$defs"] == parameters["$defs"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"minimum": 100}, {"minimum": 100, "maximum": 10**16 - 1}),
        ({"exclusiveMaximum": -5}, {"exclusiveMaximum": -5, "minimum": 1 - 10**16}),
        ({"minimum": 1, "maximum": 3}, {"minimum": 1, "maximum": 3}),
        ({}, {}),
    ],
)
def test_an_integer_with_one_limit_gets_the_engines_own_as_the_other(given: dict[str, Any], told: dict[str, Any]) -> None:
    for kinds in ("integer", ["null", "integer"]):
        schema = {"anyOf": [{"type": kinds, **given}], "default": {"type": kinds, **given}}
        assert engine_schema(schema) == {"anyOf": [{"type": kinds, **told}], "default": {"type": kinds, **given}}
    assert engine_schema({"type": ["number", "integer"], **given}) == {"type": ["number", "integer"], **given}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "arguments", ['{"city": "Oslo"}', "{}", '{"a": {"b": "}"}}', '{"text": "a \\"} b"}', '{ "x" : [1, 2] }']
)
def test_a_forced_call_adds_up_however_it_is_cut(arguments: str, seed: int) -> None:
    text = f'{{"name": "f", "arguments": {arguments}}}'
    whole, deltas = call_of(text, cut(text, seed))
    assert whole["function"] == {"name": "f", "arguments": arguments.rstrip()}
    first, *rest = [delta["tool_calls"][0] for delta in deltas]
    assert (first["function"]["name"], first["id"], first["type"]) == ("f", whole["id"], "function")
    assert "".join(item["function"]["arguments"] for item in (first, *rest)) == whole["function"]["arguments"]
    assert all("id" not in item for item in rest)


def test_a_call_that_is_cut_short_keeps_what_came() -> None:
    whole, _ = call_of('{"name": "f", "arguments": {"a": 1', ['{"name": "f", "arg', 'uments": {"a": 1'], complete=False)
    assert whole["function"]["arguments"] == '{"a": 1'
    whole, _ = call_of('{"na', ['{"na'], complete=False)
    assert whole["function"] == {"name": "", "arguments": ""}


def tools_of(*functions: dict[str, Any]) -> list[Tool]:
    tools = [{"type": "function", "function": function} for function in functions]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": "required"}
    return parse(ChatRequest, json.dumps(body).encode()).value.tools or []


def test_several_tools_are_several_schemas() -> None:
    schema = forced_schema(tools_of({"name": "f"}, {"name": "g"}))
    assert [branch["properties"]["name"]["const"] for branch in schema["anyOf"]] == ["f", "g"]


def test_a_call_or_an_answer_is_one_schema_more() -> None:
    form = {"$defs": {"A": {"type": "object"}}, "$ref": "#/$defs/A"}
    *calls, answer = forced_schema(tools_of({"name": "f"}, {"name": "g"}), form)["anyOf"]
    assert [call["properties"]["name"]["const"] for call in calls] == ["f", "g"]
    assert answer == {"$defs": {"A": {"type": "object"}}, "$ref": "#/anyOf/2/$defs/A"}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("text", "called"),
    [
        ('{"name": "f", "arguments": {"a": 1}}', True),
        ('{ "name":"ff","arguments" : {}}', True),
        ('{"name": "Ada", "age": 36}', False),
        ('{"name": "f", "age": 36}', False),
        ('{"name": "h", "arguments": {}}', False),
        ('{"na me": "f", "arguments": {}}', False),
        ("{}", False),
        ("[1, 2]", False),
        ('{"na', False),
        ("", False),
    ],
)
def test_a_call_or_an_answer_is_told_apart_however_it_is_cut(text: str, called: bool, seed: int) -> None:
    reader = CallOrAnswer(tools_of({"name": "f"}, {"name": "ff"}))
    message, deltas = read(reader, cut(text, seed))
    assert reader.called is called
    if called:
        assert message["tool_calls"][0]["function"]["name"] == json.loads(text)["name"]
        assert not any("content" in delta for delta in deltas)
    else:
        assert message == {"content": text}
        assert "".join(delta["content"] for delta in deltas) == text


@given(
    st.lists(
        st.sampled_from([b'data: {"a":1}\n\n', b"data: [DONE]\n\n", b": ping\n\n", b'data: {"t":"\xc3\xa9"}\n\n']), max_size=8
    ),
    st.randoms(),
)
@settings(max_examples=200, deadline=None)
def test_events_are_whole_however_their_bytes_are_cut(events: list[bytes], chance: random.Random) -> None:
    data, cutter, out = b"".join(events), sse.EventCutter(), b""
    while data:
        length = chance.randint(1, 9)
        piece = cutter.feed(data[:length])
        assert piece == b"" or piece.endswith(b"\n\n")
        out += piece
        data = data[length:]
    assert out == b"".join(events)
    assert not cutter.unfinished


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"usage":{}}\n\n',
        b"data: [DONE]\n\n",
        b'data: {"error":{}}\n\n',
        b'error: {"code":500}\n\n',
        b'data: {"timings":{}}\n\n',
        b"<html>\n\n",
        b'data: {"a":"\xff"}\n\n',
        b": ping\n\n",
        b'data: {"a":1}\n\ngarbage\n\n',
    ],
)
def test_events_that_need_a_look_are_told(event: bytes) -> None:
    assert not sse.plain(event)
    assert sse.plain(b'data: {"choices":[{"delta":{"content":"\\"usage\\": [ DONE ] error"}}]}\n\n')


def error(status: int, message: str, constraint: str = "grammar", **fields: Any) -> FreeholdError:
    body = json.dumps({"error": {"code": status, "message": message, **fields}}).encode()
    return from_engine(status, body, param="messages", constraint=constraint)


@pytest.mark.parametrize(
    ("given", "kind", "param"),
    [
        (error(400, "x", type="exceed_context_size_error", n_prompt_tokens=9, n_ctx=5), ContextLengthExceeded, "messages"),
        (
            error(
                500, "input (602 tokens) is too large to process. increase the physical batch size (current batch size: 512)"
            ),
            ContextLengthExceeded,
            "messages",
        ),
        (error(503, "Loading model", type="unavailable_error"), ModelFailed, None),
        (error(400, "JSON schema conversion failed: bad ref", "response_format"), InvalidRequest, "response_format"),
        (error(400, "failed to parse grammar", "tools"), InvalidRequest, "tools"),
        (error(400, "failed to parse grammar"), InvalidRequest, "grammar"),
        (error(400, "Prompt contains invalid tokens"), InvalidRequest, "messages"),
        (error(500, "jinja template error"), InvalidRequest, "messages"),
        (error(400, "something new"), InvalidRequest, None),
        (error(500, "GGML_ASSERT(/home/x/ggml.c:12)"), EngineBadResponse, None),
        (from_engine(500, b"<html>", param="prompt", constraint="grammar"), EngineBadResponse, None),
        (from_engine(500, b"", param="prompt", constraint="grammar"), EngineBadResponse, None),
        (from_engine(400, b'{"error": "text"}', param="prompt", constraint="grammar"), EngineBadResponse, None),
    ],
)
def test_engine_errors_are_mapped_by_what_they_mean(given: FreeholdError, kind: type[FreeholdError], param: str | None) -> None:
    assert type(given) is kind
    assert given.param == param
    assert "/home" not in given.message
    assert "html" not in given.message


def test_a_prompt_that_is_too_long_is_told_with_both_numbers() -> None:
    told = error(500, "input (602 tokens) is too large to process. increase the physical batch size (current batch size: 512)")
    assert "602" in told.message
    assert "512" in told.message


def test_a_path_in_an_engines_words_is_not_repeated() -> None:
    assert "/root" not in error(400, "cannot open /root/secret/model.gguf now").message


@given(st.binary(max_size=100), st.integers(100, 599))
@settings(deadline=None)
def test_whatever_an_engine_answers_is_an_error_of_ours(body: bytes, status: int) -> None:
    assert isinstance(from_engine(status, body, param="messages", constraint="grammar"), FreeholdError)


def test_usage_is_read_from_what_engines_send() -> None:
    assert Usage.from_engine({}) == Usage()
    told = Usage.from_engine({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}})
    assert told.as_json()["total_tokens"] == 7
    assert told + told == Usage(6, 8, 4)
