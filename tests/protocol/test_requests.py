"""Every field of a request is honoured or refused, in OpenAI's words, and nothing makes the parser stumble."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.errors import InvalidRequest
from freehold.protocol.chat import chat_plan
from freehold.protocol.completions import completion_plan
from freehold.protocol.embeddings import embedding_plan
from freehold.protocol.requests import (
    ChatRequest,
    CompletionRequest,
    EditRequest,
    EmbeddingRequest,
    GenerationRequest,
    SpeechRequest,
    VariationFields,
    parse,
)
from freehold.protocol.requests.common import Extra, Refused, treatment
from freehold.protocol.values import Target

DOCUMENTED = json.loads((Path(__file__).parent.parent / "data" / "openai-parameters.json").read_text())
KINDS = {
    "chat": ChatRequest,
    "completions": CompletionRequest,
    "embeddings": EmbeddingRequest,
    "speech": SpeechRequest,
    "generations": GenerationRequest,
    "edits": EditRequest,
    "variations": VariationFields,
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION = {"model": "m", "prompt": "hi"}
EMBEDDING = {"model": "m", "input": "hi"}
SPEECH = {"model": "m", "input": "hi", "voice": "alloy"}
GENERATION = {"model": "m", "prompt": "hi"}
EDIT = {**GENERATION, "images": [{"image_url": "data:image/png;base64,AAAA"}]}
MINIMAL = {
    "chat": CHAT,
    "completions": COMPLETION,
    "embeddings": EMBEDDING,
    "speech": SPEECH,
    "generations": GENERATION,
    "edits": EDIT,
    "variations": {"model": "m"},
}
TARGET = Target("m", "chat", 1000, 4, 100, 64, frozenset({"chat", "completion", "tools"}), {"temperature": 0.2})
PLANS = {
    "chat": chat_plan,
    "completions": completion_plan,
    "embeddings": embedding_plan,
    "speech": lambda request, target: SimpleNamespace(bodies=(request.model_dump_json().encode(),)),  # one call
    **dict.fromkeys(
        ("generations", "edits", "variations"),
        lambda request, target: SimpleNamespace(bodies=(json.dumps(request.order()).encode(),)),
    ),
}


def refusal(kind: str, body: Any) -> InvalidRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as caught:
        PLANS[kind](parse(KINDS[kind], raw).value, TARGET)
    return caught.value


def engine_body(kind: str, **fields: Any) -> dict[str, Any]:
    """What the engine is asked for a request with these fields."""
    plan = PLANS[kind](parse(KINDS[kind], json.dumps(MINIMAL[kind] | fields).encode()).value, TARGET)
    return dict(json.loads(plan.bodies[0]))


def test_a_models_own_system_message_is_for_chats_that_bring_none() -> None:
    target = replace(TARGET, system="You are a pirate.")

    def asked(*messages: dict[str, str]) -> Any:
        request = parse(ChatRequest, json.dumps(CHAT | {"messages": messages}).encode()).value
        return json.loads(chat_plan(request, target).bodies[0])["messages"]

    user, own = {"role": "user", "content": "hi"}, {"role": "system", "content": "You are a pirate."}
    assert asked(user) == [own, user]
    for role in ("system", "developer"):
        mine = {"role": role, "content": "Be brief."}
        assert asked(mine, user) == [mine, user]
        assert asked(user, mine) == [user, mine]
    assert engine_body("chat")["messages"] == [user]  # most models have none


def test_mistrals_names_in_a_chat_are_known() -> None:
    assert engine_body("chat", random_seed=7) == engine_body("chat", seed=7) == engine_body("chat", seed=7, random_seed=7)
    assert refusal("chat", CHAT | {"seed": 7, "random_seed": 8}).param == "random_seed"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    turns = [*CHAT["messages"], {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "name": "f"}]
    asked = engine_body("chat", messages=[*turns[:2], turns[2] | {"content": "1"}])["messages"]
    assert (asked[1]["tool_calls"][0]["type"], asked[2]["name"]) == ("function", "f")
    back = {"role": "assistant", "tool_calls": [call | {"index": 0}], "prefix": False}  # as its library sends an answer back
    assert engine_body("chat", messages=[turns[0], back, turns[2] | {"content": "1"}])["messages"] == asked
    assert refusal("chat", CHAT | {"messages": [turns[0], back | {"prefix": True}]}).param == "messages[1].prefix"
    assert engine_body("chat", tools=tools, tool_choice="any") == engine_body("chat", tools=tools, tool_choice="required")


@pytest.mark.parametrize("kind", KINDS)
def test_every_documented_parameter_is_known_and_no_other(kind: str) -> None:
    model = KINDS[kind]
    own = {name for name in model.model_fields if not isinstance(treatment(model, name), Extra)}
    assert own == set(DOCUMENTED[kind.removesuffix("s")])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused_says_why_and_what_asks_for_nothing_passes(kind: str) -> None:
    model = KINDS[kind]
    for name in model.model_fields:
        how = treatment(model, name)
        if isinstance(how, Refused):
            error = refusal(kind, MINIMAL[kind] | {name: {"surely": "not allowed"}})
            assert error.param == name
            assert how.note in error.message or error.code == "invalid_type"
            for fine in (None, *how.allow):
                parse(model, json.dumps(MINIMAL[kind] | {name: fine}).encode())


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"temperature": 3}, "decimal_above_max_value", "temperature"),
        ({"temperature": -0.1}, "decimal_below_min_value", "temperature"),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"temperature": True}, "invalid_type", "temperature"),
        ({"top_p": 2**63}, "decimal_above_max_value", "top_p"),
        ({"n": 0}, "integer_below_min_value", "n"),
        ({"n": 129}, "integer_above_max_value", "n"),
        ({"n": 1.5}, "invalid_type", "n"),
        ({"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
        ({"max_tokens": -(2**63)}, "integer_below_min_value", "max_tokens"),
        ({"seed": 2**63}, "integer_above_max_value", "seed"),
        ({"seed": "x"}, "invalid_type", "seed"),
        ({"top_logprobs": 21, "logprobs": True}, "integer_above_max_value", "top_logprobs"),
        ({"logit_bias": {"abc": 1}}, "invalid_value", "logit_bias"),
        ({"logit_bias": {"5": 101}}, None, "logit_bias.5"),
        ({"logit_bias": {"100": 1}}, "invalid_value", "logit_bias"),
        ({"top_k": -1}, "integer_below_min_value", "top_k"),
        ({"min_p": 1.1}, "decimal_above_max_value", "min_p"),
        ({"mirostat": 3}, "integer_above_max_value", "mirostat"),
        ({"repeat_last_n": 10**9}, "integer_above_max_value", "repeat_last_n"),
        ({"unheard_of": 1}, "unknown_parameter", "unheard_of"),
        ({"messages": []}, "empty_array", "messages"),
        ({"messages": "hi"}, "invalid_type", "messages"),
        ({"messages": [{}]}, None, None),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, None, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "mood": "good"}]}, "unknown_parameter", "messages[0].mood"),
        ({"response_format": {"type": "json_schema"}}, "missing_required_parameter", "response_format.json_schema"),
        ({"stream": "yes"}, "invalid_type", "stream"),
        ({"stream_options": {"include_usage": True}}, None, "stream_options"),
        ({"model": None}, "invalid_type", "model"),
        ({"model": ""}, "empty_string", "model"),
        ({"model": "x" * 400}, "string_above_max_length", "model"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], code: str | None, param: str | None) -> None:
    error = refusal("chat", CHAT | fields)
    assert error.status == 400
    if param is not None:
        assert error.param == param
    if code is not None:
        assert error.code == code
    assert error.message.endswith(".")
    assert len(error.message) < 500


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"model": "m", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "m", "temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "m", "temperature": Infinity, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "m", "temperature": 1e999, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "m"' + b"," * 3 + b"}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\x00" * 100,
    ],
)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    assert refusal("chat", raw).status == 400


def test_what_is_nested_too_deeply_is_told_as_such() -> None:
    assert "nested too deeply" in refusal("chat", b"[" * 100_000).message


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({}, {"temperature": 0.2, "max_tokens": 64}),  # the model's own recommendation, the server's own limit
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"max_tokens": 10**6}, {"max_tokens": 1000}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"seed": 7}, {"seed": 7}),
        ({"logit_bias": {"5": -100, "6": 2}}, {"logit_bias": [[5, False], [6, 2.0]]}),
        ({"presence_penalty": 1}, {"presence_penalty": 1.0, "repeat_last_n": 1000}),
        ({"repeat_last_n": -1}, {"repeat_last_n": 1000}),
        ({"dry_penalty_last_n": 5000}, {"dry_penalty_last_n": 1000}),
        ({"top_k": 5, "min_p": 0.1, "grammar": 'root ::= "a"'}, {"top_k": 5, "min_p": 0.1, "grammar": 'root ::= "a"'}),
        ({"logprobs": True}, {"logprobs": True, "top_logprobs": 1}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    ],
)
def test_what_is_honoured_reaches_the_engine(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    body = engine_body("chat", **fields)
    assert {key: body.get(key) for key in sent} == sent


def test_nothing_else_reaches_the_engine() -> None:
    body = engine_body("chat", user="u", metadata={"a": "b"}, store=False, service_tier="auto", safety_identifier="s")
    assert set(body) == {"messages", "max_tokens", "stream", "stream_options", "temperature"}


@pytest.mark.parametrize(
    ("kind", "fields", "streamed"),
    [
        ("chat", {}, True),
        ("chat", {"stream": True, "logprobs": True, "stop": "x"}, True),
        ("chat", {"logprobs": True}, False),
        ("chat", {"stop": ["x"]}, True),
        ("chat", {"stop": []}, True),
        ("completions", {"logprobs": 2}, True),
        ("completions", {"stop": "x"}, True),
        ("completions", {"stop": "x", "logprobs": 2}, False),
    ],
)
def test_the_engine_is_asked_for_a_stream_where_that_says_all(kind: str, fields: dict[str, Any], streamed: bool) -> None:
    body = engine_body(kind, **fields)
    assert (body["stream"], "stream_options" in body) == (streamed, streamed)
    assert body.get("timings_per_token", False) == (streamed and bool(fields.get("stop")) and "stream" not in fields)


def test_choices_differ_by_their_seed() -> None:
    plan = chat_plan(parse(ChatRequest, json.dumps(CHAT | {"n": 3, "seed": 5}).encode()).value, TARGET)
    assert [json.loads(body)["seed"] for body in plan.bodies] == [5, 6, 7]
    assert plan.concurrency == 3


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_many_choices_of_a_huge_request_are_refused_before_they_fill_the_memory(kind: str) -> None:
    """A request of 3 MB for which the engine would be sent 384 MB, of which no more is made than the limit."""
    text = "a" * (3 << 20)
    prompt = {"messages": [{"role": "user", "content": text}]} if kind == "chat" else {"prompt": text}
    assert refusal(kind, MINIMAL[kind] | prompt | {"n": 128}).param == "n"
    assert engine_body(kind, **prompt, n=2)


def test_unknown_fields_can_be_left_out_and_are_named() -> None:
    parsed = parse(ChatRequest, json.dumps(CHAT | {"mood": 1, "zeal": 2}).encode(), unknown="ignore")
    assert set(parsed.ignored) == {"mood", "zeal"}
    with pytest.raises(InvalidRequest):  # not the wrong values of known ones
        parse(ChatRequest, json.dumps(CHAT | {"mood": 1, "temperature": 9}).encode(), unknown="ignore")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [1, "a"]}, None),
        ({"input": [-1]}, None),
        ({"input": [[]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_embedding_inputs_are_checked(fields: dict[str, Any], param: str | None) -> None:
    error = refusal("embeddings", EMBEDDING | fields)
    assert error.param is not None
    assert error.param.startswith("input") if param is None else error.param.startswith(param)


def test_dimensions_are_for_models_trained_for_them() -> None:
    body = json.dumps(EMBEDDING | {"dimensions": 128}).encode()
    request = parse(EmbeddingRequest, body).value
    able = Target("m", "embedding", 512, 4, 100, 0, frozenset({"embeddings"}), {}, (128, 256), 384)
    embedding_plan(request, able)
    unable = Target("m", "embedding", 512, 4, 100, 0, frozenset({"embeddings"}), {}, (), 384)
    with pytest.raises(InvalidRequest, match="384"):
        embedding_plan(request, unable)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(kind=st.sampled_from(list(KINDS)), data=st.data())
@settings(max_examples=600, deadline=None)
def test_whatever_stands_in_a_field_gives_a_plan_or_a_400(kind: str, data: st.DataObject) -> None:
    names = [*KINDS[kind].model_fields, "other"]
    fields = data.draw(st.dictionaries(st.sampled_from(names), _json, max_size=4))
    try:
        plan = PLANS[kind](parse(KINDS[kind], json.dumps(MINIMAL[kind] | fields).encode("utf-8", "replace")).value, TARGET)
    except InvalidRequest as error:
        json.dumps(error.envelope()).encode()
        assert error.status == 400
        return
    for body in plan.bodies:
        json.loads(body)


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_whatever_bytes_come_give_a_400(raw: bytes) -> None:
    try:
        parse(ChatRequest, raw)
    except InvalidRequest:
        return
    raise AssertionError("bytes at random are no request")
