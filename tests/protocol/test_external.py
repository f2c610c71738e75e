"""What engines of other makers are asked, what they answer, and what that means here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.errors import EngineBadResponse, FreeholdError, InvalidRequest
from freehold.external import ExternalSettings, address_of
from freehold.protocol import sse
from freehold.protocol.chat import chat_plan
from freehold.protocol.embeddings import EmbeddingJoiner, embedding_plan
from freehold.protocol.engine_errors import from_external
from freehold.protocol.external import Kind, outgoing, served
from freehold.protocol.foreign import Events, renamed
from freehold.protocol.requests import ChatRequest, EmbeddingRequest, parse
from freehold.protocol.shape import sound
from freehold.protocol.values import Target

CHAT = "/v1/chat/completions"
TARGET = Target(
    name="m",
    task="chat",
    context=4096,
    slots=4,
    vocab_size=2**31 - 1,
    max_output_tokens=2048,
    capabilities=frozenset({"chat", "completion", "tools", "embeddings"}),
    external=True,
)
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("find", "buy")]


def sent(kind: Kind, path: str = CHAT, **fields: Any) -> dict[str, Any]:
    return dict(json.loads(outgoing(path, json.dumps(fields).encode(), "theirs", 4096, kind)))


@pytest.mark.parametrize(
    ("url", "shown", "prefix"),
    [
        ("http://gpu-box:8000/v1", "http://gpu-box:8000", "/v1"),
        ("http://gpu-box:8000/v1/", "http://gpu-box:8000", "/v1"),
        ("http://gpu-box:8000", "http://gpu-box:8000", "/v1"),
        ("HTTPS://API.Example.com", "https://api.example.com", "/v1"),
        ("https://api.example.com:443/openai/v1", "https://api.example.com", "/openai/v1"),
        ("http://[::1]:30000/v1", "http://[::1]:30000", "/v1"),
        ("http://[fe80::1%25eth0]/v1", "http://[fe80::1%25eth0]", "/v1"),
        ("unix:/run/vllm.sock", "unix:/run/vllm.sock", "/v1"),
        ("unix:///run/a%20b.sock", "unix:/run/a b.sock", "/v1"),
    ],
)
def test_an_address_is_taken_as_people_write_it(url: str, shown: str, prefix: str) -> None:
    address = address_of(url)
    assert (address.shown, address.prefix) == (shown, prefix)


@pytest.mark.parametrize(
    "url",
    [
        *("", "gpu-box:8000", "ftp://a/v1", "http://", "http://u:secret@a/v1", "http://:secret@a/v1", "http://secret@a/v1"),
        *(
            "http://a/v1?key=secret",
            "http://a/v1?",
            "http://a/v1#secret",
            "http://a:99999/v1",
            "http://a:0/v1",
            "http://a:x/v1",
        ),
        *(
            "http://ä/v1",
            "http://a/v 1",
            "http://a\r\nX: y/v1",
            "http://a..b/v1",
            f"http://{'a' * 64}.com/v1",
            "http://[::1/v1",
        ),
        *("http://a%2fb/v1", "http://a/v1/chat/completions", "http://a/v1/models", "unix:", "unix:run/x", "unix://host/x"),
    ],
)
def test_an_address_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"url") as caught:
        address_of(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "http://a/v1"},  # without an engine
        {"engine": "external"},
        {"engine": "external", "url": "http://a", "command": ["x", "{port}"]},
        {"engine": "external", "url": "http://a", "fim": "qwen"},
        {"engine": "external", "url": "http://a", "threads": 4},
        {"engine": "external", "url": "http://a", "memory": "1 GiB"},
        {"engine": "external", "url": "http://a", "env": {"A": "b"}},
        {"engine": "external", "url": "http://a", "ca": "x.pem"},
        {"engine": "external", "command": ["vllm", "serve"]},
        {"engine": "external", "command": ["x", "{port}", "{socket}"]},
        {"engine": "external", "command": ["x", "{port}", "a\0b"]},
        {"engine": "external", "command": ["x", "{port}"], "env": {"A=B": "c"}},
        {"engine": "external", "command": "vllm serve --port {port}"},  # a shell's line
        {"engine": "vllm", "url": "http://a"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict[str, Any]) -> None:
    from freehold.settings import ModelSettings

    with pytest.raises(ValueError, match=r"validation error"):
        ModelSettings.model_validate(fields)


def test_an_engine_may_be_started_by_a_command() -> None:
    given = {
        "engine": "external",
        "command": ["vllm", "serve", "m", "--uds", "{socket}"],
        "memory": "2 GiB",
        "device": "cuda:0",
    }
    assert ExternalSettings.model_validate(given).memory == 2 * 2**30


@pytest.mark.parametrize("kind", ["vllm", "sglang", "tensorrt-llm", ""])
def test_openais_own_fields_reach_every_engine(kind: Kind) -> None:
    fields = {
        "messages": [],
        "temperature": 0,
        "top_p": 0.5,
        "seed": 1,
        "stop": ["x"],
        "stream": True,
        "reasoning_effort": "low",
    }
    assert sent(kind, **fields) == {"model": "theirs", **fields}


@pytest.mark.parametrize("kind", ["vllm", "sglang", "tensorrt-llm"])
def test_what_they_have_under_other_names_is_translated(kind: Kind) -> None:
    body = sent(kind, messages=[], top_k=40, min_p=0.1, repeat_penalty=1.1, logit_bias=[[5, False], [7, 2.0]])
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (40, 0.1, 1.1)
    assert body["logit_bias"] == {"5": -100, "7": 2.0}
    assert sent(kind, messages=[], top_k=0)["top_k"] == (0 if kind == "tensorrt-llm" else -1)


@pytest.mark.parametrize("kind", ["vllm", "sglang", "tensorrt-llm", ""])
@pytest.mark.parametrize(
    "fields",
    [
        {"grammar": "root ::= x"},
        {"mirostat": 1},
        {"typical_p": 0.5},
        {"cache_prompt": False},
        {"repeat_last_n": 64},
        {"n_probs": 1},
    ],
)
def test_what_an_engine_does_not_heed_is_refused_by_name(kind: Kind, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(kind, messages=[], **fields)
    assert caught.value.param == next(iter(fields))
    with pytest.raises(InvalidRequest):
        sent("", messages=[], top_k=40)  # of an unknown engine nothing but OpenAI's fields is known


@pytest.mark.parametrize("kind", ["freehold", "llama.cpp"])
def test_llama_cpps_own_fields_reach_those_that_have_them(kind: Kind) -> None:
    fields = {"messages": [], "grammar": "root ::= x", "cache_prompt": False, "repeat_last_n": 64, "top_k": 0}
    assert sent(kind, **fields) == {"model": "theirs", **fields}


def test_what_asks_for_nothing_is_left_out() -> None:
    fields = {
        "timings_per_token": True,
        "return_progress": True,
        "cache_prompt": True,
        "repeat_last_n": 4096,
        "max_tokens": 4096,
    }
    assert sent("vllm", messages=[], **fields) == {"model": "theirs", "messages": []}
    assert sent("vllm", messages=[], max_tokens=4095)["max_tokens"] == 4095
    schema = {"type": "json_schema", "json_schema": {"schema": {}}}
    assert sent("vllm", messages=[], response_format=schema)["response_format"]["json_schema"]["name"] == "answer"
    with pytest.raises(InvalidRequest):
        sent("vllm", "/v1/completions", prompt="a", logprobs=1)
    with pytest.raises(InvalidRequest):
        sent("vllm", "/tokenize", content="a")


def asked(**fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], **fields}
    plan = chat_plan(parse(ChatRequest, json.dumps(body).encode()).value, TARGET)
    return dict(json.loads(plan.bodies[0]))


def test_tools_are_asked_for_in_openais_own_words() -> None:
    named = {"type": "function", "function": {"name": "buy"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    assert asked(tools=TOOLS)["tool_choice"] == "auto"
    assert asked(tools=TOOLS, tool_choice="required")["tool_choice"] == "required"
    assert asked(tools=TOOLS, tool_choice=named)["tool_choice"] == named
    body = asked(tools=TOOLS, tool_choice=allowed)
    assert (body["tool_choice"], [tool["function"]["name"] for tool in body["tools"]]) == ("required", ["buy"])
    assert "tools" not in asked(tools=TOOLS, tool_choice="none")
    assert "response_format" not in asked(tools=TOOLS, tool_choice="required")


CALL = {"id": "a", "type": "function", "function": {"name": "buy", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("asked_for", "said", "fine"),
    [
        ({}, {"message": {"content": "no"}, "finish_reason": "stop"}, True),
        ({"tools": TOOLS}, {"message": {"content": "no"}, "finish_reason": "stop"}, True),
        ({"tools": TOOLS, "tool_choice": "required"}, {"message": {"content": "no"}, "finish_reason": "stop"}, False),
        ({"tools": TOOLS, "tool_choice": "required"}, {"message": {"content": "n"}, "finish_reason": "length"}, True),
        ({"tools": TOOLS, "tool_choice": "required"}, {"message": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}, True),
        ({"logprobs": True}, {"message": {"content": "a"}, "finish_reason": "stop"}, False),
        ({"logprobs": True}, {"message": {"content": "a"}, "finish_reason": "stop", "logprobs": {"content": []}}, True),
        ({"logprobs": True}, {"message": {"content": ""}, "finish_reason": "stop"}, True),
    ],
)
def test_what_was_asked_for_is_missed_when_it_does_not_come(
    asked_for: dict[str, Any], said: dict[str, Any], fine: bool
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": True, **asked_for}
    plan = chat_plan(parse(ChatRequest, json.dumps(body).encode()).value, TARGET)
    needs_a_look = "required" in asked_for.values() or "logprobs" in asked_for
    assert plan.relay is not needs_a_look
    message: Any = said["message"]
    calls = {"tool_calls": [{**call, "index": 0} for call in message["tool_calls"]]} if "tool_calls" in message else {}
    pieces = [
        {**said, "message": None, "delta": message | calls, "finish_reason": None},
        {"delta": {}, **said, "message": None},
    ]

    def whole() -> None:
        plan.joiner(()).whole([{"choices": [dict(said)]}])

    def grown() -> None:
        joiner = plan.joiner(())
        for piece in pieces:
            list(joiner.chunk(0, {"choices": [{name: value for name, value in piece.items() if name != "message"}]}))

    for made in (whole, grown):
        if fine:
            made()
        else:
            with pytest.raises(EngineBadResponse, match="external engine"):
                made()


def test_vectors_may_be_numbers_or_base64_and_must_be_as_many_and_as_long_as_asked() -> None:
    request = parse(EmbeddingRequest, b'{"model": "m", "input": ["a", "b"], "dimensions": 2}').value
    plan = embedding_plan(request, TARGET)
    assert json.loads(plan.bodies[0])["dimensions"] == 2
    rows: list[dict[str, Any]] = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": "AACAPwAAAEA="}]
    whole = plan.joiner(()).whole([{"data": rows}])
    assert [row["embedding"] for row in whole["data"]] == [[1.0, 2.0], [3.0, 4.0]]
    for wrong in (rows[:1], [rows[0], {"index": 0, "embedding": [1, 2, 3]}], [rows[0], {"index": 0, "embedding": ["x", "y"]}]):
        with pytest.raises(EngineBadResponse):
            plan.joiner(()).whole([{"data": wrong}])
    with pytest.raises(EngineBadResponse):
        EmbeddingJoiner("m", 1, False, None).whole([{"data": [{"index": 0, "embedding": "not base64"}]}])


def test_a_list_of_models_is_read_whatever_it_holds() -> None:
    rows = [{"id": f"m{k}", "owned_by": "vllm", "max_model_len": 8} for k in range(1000)]
    rows += [{"id": "m1"}, {"id": "x" * 10_000}, {"id": "\x1b[31m\n"}]
    found = served(json.dumps({"data": rows}).encode())
    assert [each.name for each in found] == [*(f"m{k}" for k in range(1000)), "\x1b[31m\n"]
    assert (found[1].kind, found[1].context) == ("vllm", 8)  # the first of a name counts
    via = {"id": "m", "owned_by": "freehold", "via": [f"n{k}" for k in range(1000)]}
    assert len(served(json.dumps({"data": [via]}).encode())[0].via) == 16
    assert served(b'{"data": [{"id": "m", "owned_by": "vllm", "via": ["a"]}]}')[0].via == ()
    half = served(b'{"data": [{"id": "\\ud800"}, {"id": "m", "owned_by": "freehold", "via": ["a\\udfff"]}]}')
    assert [(each.name, each.via) for each in half] == [("m", ("a?",))]  # neither could be sent on


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"null", b'{"data": 5}', b'{"data": [5]}', b'{"data": [{}]}', b'{"data": ["m"]}', b"[" * 9999, b"\xff"],
)
def test_what_is_no_list_of_models_is_an_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match="not a list of models"):
        served(answer)


PIECE = '{"choices":[{"index":0,"delta":{"content":"a"}}]}'


@pytest.mark.parametrize(
    "stream",
    [
        f"data: {PIECE}\n\ndata: [DONE]\n\n",
        f"data: {PIECE}\r\n\r\ndata: [DONE]\r\n\r\n",
        f"data: {PIECE}\r\rdata: [DONE]\r\r",
        f"data:{PIECE}\n\ndata:[DONE]\n\n",
        f": ping\n\nevent: message\nid: 7\nretry: 5\ndata: {PIECE}\n\nevent: end\ndata: [DONE]\n\n",
        f"data: {PIECE[:20]}\ndata: {PIECE[20:]}\n\ndata: [DONE]",
    ],
)
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_events_of_every_form_become_the_same(stream: str, step: int) -> None:
    events, made = Events("m"), b""
    data = stream.encode()
    for start in range(0, len(data), step):
        made += events.feed(data[start : start + step])
    made += events.end()
    first, *rest = sse.payloads(made)
    assert json.loads(first) == json.loads(PIECE)
    assert rest == [b"[DONE]"]
    assert events.done


def test_an_event_without_an_end_does_not_fill_the_memory() -> None:
    events = Events("m")
    with pytest.raises(EngineBadResponse):
        for _ in range(100):
            events.feed(b"data: " + b"x" * 2**20)


def test_the_model_has_its_name_here_and_generated_text_is_left_alone() -> None:
    body = {
        "model": "/models/theirs",
        "choices": [{"message": {"content": '"model":"x" and "reasoning":"y"', "reasoning": "z"}}],
    }
    for separators in ((",", ":"), (", ", ": ")):
        told = json.loads(renamed(json.dumps(body, separators=separators).encode(), 'a"b'))
        assert told["model"] == 'a"b'
        assert told["choices"][0]["message"] == {"content": '"model":"x" and "reasoning":"y"', "reasoning_content": "z"}


def test_a_piece_of_a_call_says_of_which_and_a_whole_call_need_not() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert sound({"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    assert not sound({"choices": [{"delta": {"tool_calls": [call]}}]})
    assert sound({"choices": [{"delta": {"tool_calls": [{**call, "index": 0}]}}]})
    assert not sound({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": {}}}]}}]})


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["choices", "data", "usage", "delta", "tool_calls", "function", "index", "prompt_tokens"]),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_an_engine_says_has_a_shape_or_has_none(value: Any) -> None:
    if isinstance(value, dict):
        assert sound(value) in (True, False)


@pytest.mark.parametrize(
    ("status", "message", "expected", "code"),
    [
        (400, "This model's maximum context length is 9 tokens. However, you asked for 12.", 400, "context_length_exceeded"),
        (400, "The input (9 tokens) is longer than the model's context length (8 tokens).", 400, "context_length_exceeded"),
        (400, "temperature is too high", 400, "invalid_value"),
        (401, "Incorrect API key provided: sk-secret", 502, "engine_error"),
        (403, "no", 502, "engine_error"),
        (404, "The model does not exist", 503, "model_failed"),
        (413, "too large", 413, "payload_too_large"),
        (422, "temperature", 400, "invalid_value"),
        (429, "slow down", 429, "queue_full"),
        (302, "", 502, "engine_error"),
        (500, "context length", 502, "engine_error"),
        (503, "loading", 503, "model_failed"),
        (504, "", 504, "engine_timeout"),
    ],
)
def test_a_status_of_theirs_is_one_that_tells_whose_fault_it_is(status: int, message: str, expected: int, code: str) -> None:
    error = from_external(status, json.dumps({"error": {"message": message}}).encode(), param="messages", retry_after=9.0)
    assert (error.status, error.code) == (expected, code)
    assert "sk-secret" not in error.message
    assert error.retry_after == (9.0 if status in (404, 429, 503) else None)


@settings(max_examples=200, deadline=None)
@given(st.integers(300, 599), st.binary(max_size=60))
def test_whatever_an_error_says_it_is_one_of_ours(status: int, body: bytes) -> None:
    assert isinstance(from_external(status, body, param="messages"), FreeholdError)
