"""A whole answer is put together from the engine's stream. It must be what the engine says when it is asked for it whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.processes import worker_socket
from freehold.fleet.client import EngineClient
from freehold.gateway.calls import call_all
from freehold.protocol.plan import Plan, encode
from freehold.settings import TimeoutSettings
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving, until
from tests.gateway.wire import CHAT, directive
from tests.zoo.build import write
from tests.zoo.shapes import zoo
from tests.zoo.templates import THOUGHTS

TEXT = "/v1/completions"
SAY = {"messages": [{"role": "user", "content": "x"}]}
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["é", 7]}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
WEATHER = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]


def says(text: str) -> dict[str, Any]:
    """A grammar that lets the model say nothing else."""
    return {"grammar": f"root ::= {json.dumps(text, ensure_ascii=False)}"}


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    """The engine of a tiny random model whose template has thoughts. It is asked behind the server's back, so no silence of
    it must look like a hang."""
    folder = tmp_path_factory.mktemp("thinker")
    fake_model(folder)
    shape = next(shape for shape in zoo() if shape.name == "qwen3")
    pull(
        Store(folder), str(write(replace(shape, template=THOUGHTS), folder)), name="thinker", on_progress=lambda progress: None
    )
    environment = {
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_TIMEOUTS_HANG": "600",
    }
    with serving(folder, env=environment, ready=False) as server:
        status, _, answer = server.chat("hello", model="thinker", max_tokens=1)
        assert status == 200, answer
        yield EngineClient(worker_socket(server.worker("thinker")["pid"]))


async def both(client: EngineClient, path: str, fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The engine's own whole answer, and the one put together from its stream, but for what differs between any two."""
    answers = []
    for streamed in (False, True):
        body = {"temperature": 0, "max_tokens": 200, "stream": streamed} | fields
        body |= {"stream_options": {"include_usage": True}} if streamed else {}
        plan = Plan(
            path=path,
            bodies=(encode(body),),
            concurrency=1,
            stream=False,
            streamed=streamed,
            include_usage=False,
            relay=False,
            param="messages",
            joiner=lambda echoed: pytest.fail("nothing is joined here"),
        )
        (answer,) = await call_all(client, plan, TimeoutSettings())
        for name in ("id", "created", "timings"):
            answer.pop(name, None)
        answer["usage"].pop("prompt_tokens_details")  # what the first left in the cache
        for call in answer["choices"][0].get("message", {}).get("tool_calls", ()):
            assert call.pop("id")
        answers.append(answer)
    return answers[0], answers[1]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, says("<think>\nhm, let me see\n</think>\n\nThe answer.")),
        (CHAT, says("<think>\n a \n\n</think>\n\n  Grüße, “you” 🎉 \n\n")),
        (CHAT, says("<think>\nhm, let me see\n</think>\n\nThe answer.") | {"max_tokens": 20}),
        (CHAT, says("<think>\n\n</think>\n\nhi")),
        (CHAT, says("a < b, <think")),
        (CHAT, says("")),
        (CHAT, says("hello") | {"max_tokens": 1}),
        (CHAT, {"response_format": FORMAT}),
        (CHAT, {"temperature": 1.5, "seed": 3, "max_tokens": 100}),  # any bytes at all
        (TEXT, {"prompt": "x", "temperature": 1.5, "seed": 4, "max_tokens": 100, "logprobs": 3}),
        (TEXT, {"prompt": [5, 6, 7], "max_tokens": 1} | says("abc")),
        (CHAT, says("one two three") | {"stop": [" three"], "timings_per_token": True}),
        (CHAT, says("one two three") | {"stop": ["three four"], "timings_per_token": True, "max_tokens": 5}),
        (CHAT, says("one two three") | {"stop": ["two three four"], "timings_per_token": True, "max_tokens": 9}),
        (TEXT, says("one two three") | {"prompt": "x", "stop": ["two three four"], "timings_per_token": True, "max_tokens": 9}),
        (TEXT, says("one two three") | {"prompt": "x", "stop": ["never"], "timings_per_token": True}),
        (TEXT, {"prompt": "x", "logprobs": 2} | says("")),
        (TEXT, {"prompt": "x", "logprobs": 2} | says(" one two, Grüße 🎉")),
    ],
)
async def test_an_answer_put_together_is_the_engines_whole_answer(
    thinker: EngineClient, path: str, fields: dict[str, Any]
) -> None:
    whole, assembled = await both(thinker, path, (SAY if path == CHAT else {}) | fields)
    for answer in (assembled, whole):  # what a random model says may be cut in the middle of a character: see below
        (choice,) = answer["choices"]
        told = choice if path == TEXT else choice["message"]
        name = "text" if path == TEXT else "content"
        told[name] = told[name].rstrip("\ufffd")
    assert assembled == whole


async def test_so_is_a_tool_call(server: Server) -> None:
    def turn(city: str) -> list[dict[str, Any]]:
        call = f'<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'
        return [{"role": "user", "content": f"Call get_weather for {city}."}, {"role": "assistant", "content": call}]

    client = EngineClient(worker_socket(server.worker("smollm2:135m")["pid"]))
    fields = {"messages": [*turn("Rome"), *turn("Rome"), turn("Paris")[0]], "tools": TOOLS, "max_tokens": 60}
    whole, assembled = await both(client, CHAT, fields)
    assert assembled == whole
    (choice,) = whole["choices"]
    assert (choice["finish_reason"], len(choice["message"]["tool_calls"])) == ("tool_calls", 1)


async def test_what_the_stream_does_not_say_is_no_part_of_an_answer(thinker: EngineClient) -> None:
    """Asked for a whole answer that its limit cuts early, llama.cpp gives half a character, and raw marks of a thought."""
    for text, limit, half in (("🎉", 1, "\ufffd"), ("<think>\nhm</think>", 3, "<th")):
        whole, assembled = await both(thinker, CHAT, SAY | says(text) | {"max_tokens": limit})
        assert whole["choices"][0]["message"].pop("content") == half
        assert assembled["choices"][0]["message"].pop("content") == ""
        assert assembled == whole


@pytest.mark.parametrize("fields", [{"stop": "sky taller"}, {"stop": "sky taller", "n": 2}])
def test_what_the_engine_holds_back_at_the_limit_is_asked_for_again(server: Server, fields: dict[str, Any]) -> None:
    """The limit cuts in the middle of what may become the stop string."""
    before = server.metric("freehold_tokens_total", kind="completion")
    for limit in range(1, 6):
        status, _, answer = server.chat("x", temperature=0, max_tokens=limit, **says("sky tall"), **fields)
        assert status == 200, answer
        for choice in answer["choices"]:
            assert choice["message"]["content"] == "sky tall"[: len(choice["message"]["content"])] != ""
        said = answer["choices"][0]["message"]["content"]
        assert answer["usage"]["completion_tokens"] == limit * len(answer["choices"])
    assert said.startswith("sky")
    made = sum(range(1, 6)) * fields.get("n", 1)
    assert server.metric("freehold_tokens_total", kind="completion") - before == made, "counted once, though made twice"


def test_the_end_of_a_chat_has_a_log_probability_too(server: Server) -> None:
    status, _, answer = server.chat("x", temperature=0, max_tokens=20, logprobs=True, **says("sky tall"))
    assert (status, answer["choices"][0]["finish_reason"]) == (200, "stop")
    assert len(answer["choices"][0]["logprobs"]["content"]) == answer["usage"]["completion_tokens"]


@pytest.fixture(scope="module")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("breakable")
    fake_model(folder)
    with serving(folder, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("die_at_token", 503, "worker_died"),
        ("close_at_token", 503, "worker_died"),
        ("error_at_token", 502, "engine_error"),
        ("garbage_at_token", 502, "engine_error"),
        ("bad_framing_at_token", 502, "engine_error"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_an_answer_that_breaks_in_the_middle_is_an_error_and_no_half_answer(
    breakable: Server, fault: str, status: int, code: str, path: str
) -> None:
    def counts() -> list[float]:
        ended = breakable.metric("freehold_generations_total", model="fake", outcome=code)
        return [ended, breakable.metric("freehold_retries_total"), breakable.metric("freehold_tokens_total")]

    until(breakable.ready)
    before = counts()
    text = directive(tokens=9, token_delay_s=0.005, **{fault: 5})
    asked = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text}
    given, headers, answer = breakable.post(path, {"model": "fake", **asked})
    assert (given, answer["error"]["code"], "choices" in answer) == (status, code, False)
    assert "retry-after" in headers or status == 502
    assert counts() == [before[0] + 1, *before[1:]]
