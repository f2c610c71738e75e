"""Chat with OpenAI's Python SDK against the real starter model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.sdk.wire import CHAT, CHAT_MODEL, chat, chat_stream, finish, said, validated

PROMPT = "Name three colours."


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
async def aclient(server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


def test_an_answer_has_openais_shape(client):
    body = chat(client, PROMPT)
    message = body["choices"][0]["message"]
    assert message["content"].strip()
    assert (message["role"], message["refusal"]) == ("assistant", None)
    assert client.models.retrieve(body["model"]).id == CHAT_MODEL


def test_the_real_name_and_an_alias_are_the_same_model(client):
    one, other = (chat(client, PROMPT, model=name)["choices"][0]["message"] for name in (CHAT, CHAT_MODEL))
    assert one == other


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_limit_of_tokens_is_exact(client, name):
    body = chat(client, "Count from one to one hundred.", **({"max_tokens": openai.omit} | {name: 3}))
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 3


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = chat(client, PROMPT)
    chunks = chat_stream(client, PROMPT, stream_options={"include_usage": True})
    assert said(chunks) == whole["choices"][0]["message"]["content"]
    assert finish(chunks) == whole["choices"][0]["finish_reason"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    *others, last = chunks
    assert last["choices"] == []
    assert [last["usage"][name] for name in counts] == [whole["usage"][name] for name in counts]
    assert not any(chunk.get("usage") for chunk in others)


def test_a_stream_shows_no_usage_unless_asked(client):
    for options in (openai.omit, {"include_usage": False}):
        chunks = chat_stream(client, PROMPT, stream_options=options)
        assert all(chunk["choices"] for chunk in chunks)
        assert not any(chunk.get("usage") for chunk in chunks)


def test_a_stop_sequence_ends_the_answer_before_it(client):
    text = chat(client, PROMPT, max_tokens=24)["choices"][0]["message"]["content"]
    stop = text.split()[2]
    choice = chat(client, PROMPT, max_tokens=24, stop=[stop, "never said"])["choices"][0]
    assert choice["message"]["content"] == text[: text.index(stop)]
    assert choice["finish_reason"] == "stop"
    chunks = chat_stream(client, PROMPT, max_tokens=24, stop=stop)
    assert (said(chunks), finish(chunks)) == (text[: text.index(stop)], "stop")


def test_two_choices_are_counted_together(client):
    body = chat(client, PROMPT, n=2, temperature=1, logprobs=True)
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    spoken = sum(len(choice["logprobs"]["content"]) for choice in body["choices"])
    # The end-of-text token of a choice that stopped by itself is counted, and has no text.
    stopped = sum(choice["finish_reason"] == "stop" for choice in body["choices"])
    assert spoken <= body["usage"]["completion_tokens"] <= spoken + stopped


def test_two_choices_stream_side_by_side_with_one_usage(client):
    fields = {"n": 2, "temperature": 1, "seed": 5, "stream_options": {"include_usage": True}}
    chunks = chat_stream(client, PROMPT, **fields)
    assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1}
    assert all(said(chunks, index).strip() and finish(chunks, index) for index in (0, 1))
    assert [bool(chunk.get("usage")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_temperature_zero_is_deterministic(client):
    assert len({chat(client, PROMPT)["choices"][0]["message"]["content"] for _ in range(3)}) == 1


def test_a_seed_repeats_an_answer_and_another_seed_does_not(client):
    def ask(seed: int) -> str:
        return chat(client, "Tell me something.", temperature=1.5, seed=seed)["choices"][0]["message"]["content"]

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in range(4)}) > 1


def test_logprobs_cover_the_text_token_by_token(client):
    choice = chat(client, PROMPT, logprobs=True, top_logprobs=3)["choices"][0]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens).startswith(choice["message"]["content"])
    for token in tokens:
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == 3
        assert bytes(token["bytes"]).decode(errors="replace") == token["token"]
        assert token["top_logprobs"][0]["logprob"] == pytest.approx(token["logprob"], abs=1e-3)  # greedy takes the first


def test_logprobs_stream_with_their_tokens(client):
    whole = chat(client, PROMPT, logprobs=True)["choices"][0]["logprobs"]["content"]
    chunks = chat_stream(client, PROMPT, logprobs=True)
    parts = [choice.get("logprobs") for chunk in chunks for choice in chunk["choices"]]
    streamed = [token for part in parts if part for token in part["content"]]
    assert [token["token"] for token in streamed] == [token["token"] for token in whole]


def test_roles_and_text_parts_are_understood(client):
    body = chat(
        client,
        messages=[
            {"role": "developer", "content": "You answer briefly."},
            {"role": "user", "content": [{"type": "text", "text": "Hello,"}, {"type": "text", "text": " who are you?"}]},
            {"role": "assistant", "content": "A model."},
            {"role": "user", "content": "Whose?"},
        ],
    )
    assert body["choices"][0]["message"]["content"].strip()


def test_the_raw_response_has_an_identity(client):
    raw = client.chat.completions.with_raw_response.create(
        model=CHAT, messages=[{"role": "user", "content": PROMPT}], max_tokens=2
    )
    assert raw.headers["x-request-id"]
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.parse()._request_id == raw.headers["x-request-id"]


def test_the_streaming_response_can_be_read_line_by_line(client):
    with client.chat.completions.with_streaming_response.create(
        model=CHAT, messages=[{"role": "user", "content": PROMPT}], max_tokens=2, stream=True
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: {") for line in lines[:-1])


def test_the_stream_helper_accumulates_the_answer(client):
    # The helper raises for an answer that its limit has cut, so this one must end by itself.
    whole = chat(client, "Say hello.", max_tokens=200)["choices"][0]["message"]["content"]
    with client.chat.completions.stream(
        model=CHAT, messages=[{"role": "user", "content": "Say hello."}], temperature=0, max_tokens=200
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == whole


class Review(BaseModel):
    sentiment: Literal["positive", "negative"]
    recommended: bool


def test_a_pydantic_schema_comes_back_as_an_object(client):
    messages = [{"role": "user", "content": "Review: I love this lamp, it is wonderful. Classify it as JSON."}]
    answer = client.chat.completions.parse(
        model=CHAT, messages=messages, response_format=Review, temperature=0, max_completion_tokens=60
    )
    assert isinstance(answer.choices[0].message.parsed, Review)
    with client.chat.completions.stream(
        model=CHAT, messages=messages, response_format=Review, temperature=0, max_completion_tokens=60
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed


def test_a_json_schema_binds_every_token(client):
    schema = {
        "type": "object",
        "properties": {"answer": {"enum": ["yes", "no"]}, "sure": {"type": "boolean"}},
        "required": ["answer", "sure"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
    for temperature in (0, 1.5):
        # The grammar allows white space, within bounds, and a hot model makes use of it: the limit leaves room for all of that.
        body = chat(client, "Is water wet?", response_format=form, temperature=temperature, max_tokens=400)
        value = json.loads(body["choices"][0]["message"]["content"])
        assert value["answer"] in {"yes", "no"}
        assert set(value) == {"answer", "sure"}


def test_json_mode_gives_json(client):
    form = {"type": "json_object"}
    body = chat(client, 'Answer with the JSON object {"colour": "red"}.', response_format=form, max_tokens=120)
    choice = body["choices"][0]
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)
    else:
        assert choice["message"]["content"].lstrip().startswith("{")


def test_parameters_without_effect_on_a_local_server_are_accepted(client):
    chat(client, PROMPT, user="someone", metadata={"purpose": "test"}, store=False, presence_penalty=0.5, frequency_penalty=0.5)


async def test_more_requests_than_slots_are_all_answered(aclient):
    async def ask(number: int) -> ChatCompletion:
        content = f"Say the number {number}."
        return await aclient.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": content}], max_tokens=4, temperature=0
        )

    answers = await asyncio.gather(*(ask(number) for number in range(9)))
    assert all(validated(ChatCompletion, answer.to_dict(mode="json")) for answer in answers)
    assert len({answer.id for answer in answers}) == 9


async def test_async_streams_run_side_by_side(aclient):
    async def ask(number: int) -> list[ChatCompletionChunk]:
        stream = await aclient.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": f"{number}. {PROMPT}"}], max_tokens=6, temperature=0, stream=True
        )
        return [chunk async for chunk in stream]

    for chunks in await asyncio.gather(*(ask(number) for number in range(6))):
        bodies = [validated(ChatCompletionChunk, chunk.to_dict(mode="json")) for chunk in chunks]
        assert said(bodies)
        assert finish(bodies) in {"stop", "length"}


async def test_a_client_may_leave_a_stream_and_ask_again(aclient):
    stream = await aclient.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "Write a long story."}], max_tokens=400, stream=True
    )
    async for _ in stream:
        break
    await stream.close()
    answer = await aclient.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": PROMPT}], max_tokens=4)
    assert answer.usage.completion_tokens <= 4
