"""Anthropic's and Ollama's answers from the real engine, where they lean on what only it does: thinking, budgets, pings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.processes import worker_socket
from freehold.fleet.client import EngineClient
from freehold.gateway.calls import call_all, stream_all
from freehold.protocol.anthropic.joiner import message_of
from freehold.protocol.anthropic.plan import messages_plan
from freehold.protocol.chat import chat_plan
from freehold.protocol.ollama.plan import chat_lines_plan
from freehold.protocol.plan import Plan, encode
from freehold.protocol.requests import ChatRequest, parse
from freehold.protocol.requests.anthropic import MessagesRequest
from freehold.protocol.requests.ollama import ChatBody
from freehold.protocol.requests.responses import ResponsesRequest
from freehold.protocol.responses.plan import own_items, plan_of
from freehold.protocol.values import Target
from freehold.settings import TimeoutSettings
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving, until
from tests.zoo.build import write
from tests.zoo.shapes import zoo
from tests.zoo.templates import THOUGHTS

HELLO = [{"role": "user", "content": "hello"}]
TARGET = Target("thinker", "chat", 512, 1, 1000, 100, frozenset({"chat", "completion", "thinking"}))
THINKS = "<think>\nhm, let me see\n</think>\n\nThe answer."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A tiny random model whose template can switch its thinking. It is also asked behind the server's back, so no silence of
    it must look like a hang."""
    folder = tmp_path_factory.mktemp("thinker")
    fake_model(folder)
    shape = next(shape for shape in zoo() if shape.name == "qwen3")
    path = write(replace(shape, template=THOUGHTS, keys={**shape.keys, "context_length": 8192}), folder)
    pull(Store(folder), str(path), name="thinker", on_progress=lambda progress: None)
    environment = {
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_TIMEOUTS_HANG": "600",
        "FREEHOLD_ENGINE_CONTEXT": "8192",
    }
    with serving(folder, env=environment, ready=False) as running:
        assert running.chat("hello", model="thinker", max_tokens=1)[0] == 200
        yield running


@pytest.fixture(scope="module")
def engine(server: Server) -> EngineClient:
    return EngineClient(worker_socket(server.worker("thinker")["pid"]))


def saying(plan: Plan, text: str, **more: Any) -> Plan:
    """The same plan, but that the model cannot say anything else."""
    grammar = f"root ::= {json.dumps(text)}"
    return replace(plan, bodies=tuple(encode(json.loads(body) | {"grammar": grammar} | more) for body in plan.bodies))


def messages(**fields: Any) -> Plan:
    body = {"model": "thinker", "max_tokens": 200, "messages": HELLO} | fields
    return messages_plan(parse(MessagesRequest, encode(body)).value, TARGET)


async def streamed(engine: EngineClient, plan: Plan) -> list[dict[str, Any]]:
    joiner = plan.joiner(())
    events = list(joiner.opening())
    async with aclosing(stream_all(engine, plan, TimeoutSettings())) as chunks:
        async for call, chunk in chunks:
            events += joiner.chunk(call, chunk)
            if joiner.complete:
                break
    return [*events, *joiner.closing()]


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "adaptive", "display": "omitted"}])
async def test_what_is_thought_stands_in_a_block_of_its_own(engine: EngineClient, thinking: dict[str, Any]) -> None:
    shown = "display" not in thinking
    told = message_of(await streamed(engine, saying(messages(stream=True, thinking=thinking), THINKS)))
    thought, text = told["content"]
    assert (thought["type"], thought["thinking"].strip()) == ("thinking", "hm, let me see" if shown else "")
    assert text == {"type": "text", "text": "The answer."}
    plan = saying(messages(thinking=thinking), THINKS)
    whole = plan.joiner(()).whole(await call_all(engine, plan, TimeoutSettings()))
    assert whole["content"] == told["content"]


async def test_a_stop_sequence_is_found_in_the_text_and_not_in_the_thinking(engine: EngineClient) -> None:
    plan = saying(messages(stream=True, thinking={"type": "adaptive"}, stop_sequences=["me", " ans"]), THINKS)
    told = message_of(await streamed(engine, plan))
    assert [block.get("thinking", block.get("text")).strip() for block in told["content"]] == ["hm, let me see", "The"]
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", " ans")
    assert 0 < told["usage"]["output_tokens"] < 60


async def test_a_budget_of_thinking_is_kept(engine: EngineClient) -> None:
    plan = messages(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024})
    fields = json.loads(plan.bodies[0])
    assert fields["thinking_budget_tokens"] == 1024
    grammar = 'root ::= "<think>\\n" [a-z ]* "</think>" [A-Z ]*'
    lengths = []
    for budget in (4, 40):
        more = {"grammar": grammar, "thinking_budget_tokens": budget, "max_tokens": 100, "temperature": 0}
        (answer,) = await call_all(engine, replace(plan, bodies=(encode(fields | more),)), TimeoutSettings())
        lengths.append(len(answer["choices"][0]["message"]["reasoning_content"]))
    assert 0 < lengths[0] < lengths[1] < 200


async def test_ollama_tells_thoughts_apart(engine: EngineClient) -> None:
    body = {"model": "thinker", "messages": HELLO, "think": True, "options": {"num_predict": 200}}
    plan = saying(chat_lines_plan(parse(ChatBody, encode(body)).value, TARGET), THINKS)
    lines = await streamed(engine, plan)
    assert "".join(line["message"].get("thinking", "") for line in lines).strip() == "hm, let me see"
    assert "".join(line["message"]["content"] for line in lines) == "The answer."
    assert lines[-1]["done"]


async def test_a_chat_and_a_response_tell_thoughts_apart_too(engine: EngineClient) -> None:
    asked = {"model": "thinker", "messages": HELLO, "max_tokens": 200}
    whole_plan = saying(chat_plan(parse(ChatRequest, encode(asked)).value, TARGET), THINKS)
    whole = whole_plan.joiner(()).whole(await call_all(engine, whole_plan, TimeoutSettings()))["choices"][0]["message"]
    assert (whole["reasoning_content"].strip(), whole["content"]) == ("hm, let me see", "The answer.")
    plan = saying(chat_plan(parse(ChatRequest, encode(asked | {"stream": True})).value, TARGET), THINKS)
    deltas = [choice["delta"] for chunk in await streamed(engine, plan) for choice in chunk["choices"]]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == whole["reasoning_content"]
    assert "".join(delta.get("content") or "" for delta in deltas) == whole["content"]
    for stream in (True, False):
        fields = {"model": "thinker", "input": "hello", "max_output_tokens": 200, "stream": stream}
        request = parse(ResponsesRequest, encode(fields)).value
        plan = saying(plan_of(request, own_items(request), TARGET, "resp_1", 1), THINKS)
        if stream:
            events = await streamed(engine, plan)
            told = events[-1]["response"]
            thought = "".join(event["delta"] for event in events if event["type"] == "response.reasoning_text.delta")
            assert thought.strip() == "hm, let me see"
        else:
            joiner = plan.joiner(())
            async with aclosing(stream_all(engine, plan, TimeoutSettings())) as chunks:
                async for call, chunk in chunks:
                    list(joiner.chunk(call, chunk))
            told = joiner.whole(())
        reasoning, message = told["output"]
        assert reasoning["content"][0]["text"].strip() == "hm, let me see"
        assert message["content"][0]["text"] == "The answer."
        assert told["usage"]["output_tokens_details"]["reasoning_tokens"] > 3


def test_thinking_is_off_until_it_is_asked_for(server: Server) -> None:
    """The template of this model closes the thoughts at once when they are off, which the counts show."""

    def counted(**fields: Any) -> int:
        body = {"model": "thinker", "messages": HELLO, **fields}
        count = server.post("/v1/messages/count_tokens", body)[2]["input_tokens"]
        usage = server.post("/v1/messages", body | {"max_tokens": 1})[2]["usage"]
        assert count == usage["input_tokens"] + usage["cache_read_input_tokens"]
        return count

    on = counted(thinking={"type": "adaptive"})
    assert counted() == counted(thinking={"type": "disabled"}) > on

    def lines(think: bool | None) -> int:
        body = {"model": "thinker", "messages": HELLO, "think": think, "stream": False, "options": {"num_predict": 1}}
        return server.post("/api/chat", body)[2]["prompt_eval_count"]

    assert lines(False) > lines(True) == lines(None) == on
    assert "thinking" in server.post("/api/show", {"model": "thinker"})[2]["capabilities"]


def test_a_long_prompt_is_told_of_while_it_is_read(server: Server) -> None:
    """The engine reads it batch by batch, of 2,048 tokens; what the start says of its length is what the end says."""
    body = {"model": "thinker", "max_tokens": 4, "stream": True, "messages": [{"role": "user", "content": "ab " * 2500}]}
    _, _, text = server.post("/v1/messages", body)
    events = [json.loads(block.split("data: ")[1]) for block in text.strip().split("\n\n")]
    kinds = [event["type"] for event in events]
    start, end = events[0]["message"]["usage"], events[-2]["usage"]
    assert (
        start["input_tokens"] + start["cache_read_input_tokens"] == end["input_tokens"] + end["cache_read_input_tokens"] > 4096
    )
    assert kinds[0] == "message_start"
    assert kinds.count("ping") >= 2
    assert kinds[1 : kinds.count("ping") + 1] == ["ping"] * kinds.count("ping")


def test_a_client_that_leaves_frees_its_slot(server: Server) -> None:
    """Whatever the dialect, and also where the answer is read for its end."""

    async def leave(path: str, body: dict[str, Any]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        data = encode(body)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        await reader.read(1)
        writer.close()

    slow = [{"role": "user", "content": '[[fake:{"tokens": 100000, "token_delay_s": 0.01}]] on and on'}]
    for path, body in (
        ("/v1/messages", {"model": "fake", "max_tokens": 1000, "messages": slow, "stream": True}),
        ("/v1/messages", {"model": "fake", "max_tokens": 1000, "messages": slow, "stream": True, "stop_sequences": ["x"]}),
        ("/api/chat", {"model": "fake", "messages": slow}),
    ):
        asyncio.run(leave(path, body))
        until(lambda: server.metric("freehold_leases", model="fake") == 0)
