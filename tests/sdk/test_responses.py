"""OpenAI's Responses API with its own SDK, unchanged, against the real starter model and the fake engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.conftest import Server
from tests.sdk.wire import CHAT, CHAT_MODEL

COLOURS = "Name three colours."
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
LIGHT: Any = {
    "type": "function",
    "name": "switch_light",
    "description": "Switches a light",
    "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]},
    "strict": False,
}


def connect(server: Server, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, **({"api_key": "none", "max_retries": 0} | options))


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with connect(server) as client:
        yield client


@pytest.fixture(scope="module")
def fake(fake_server) -> Iterator[openai.OpenAI]:
    with connect(fake_server) as client:
        yield client


def ask(client: openai.OpenAI, **fields: Any) -> Response:
    """A whole response, validated by the SDK's own type."""
    given = {"model": CHAT, "input": COLOURS, "max_output_tokens": 24, "temperature": 0} | fields
    raw = client.responses.with_raw_response.create(**given)
    return Response.model_validate_json(raw.http_response.content)


def stream(server: Server, **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream as they are sent, each validated by the SDK's own types."""
    body = {"model": CHAT, "input": COLOURS, "max_output_tokens": 24, "temperature": 0, "stream": True} | fields
    status, headers, text = server.post("/v1/responses", body)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), text
    return events_of(text)


def events_of(text: str) -> list[dict[str, Any]]:
    events = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        EVENT.validate_python(event)
        events.append(event)
    return events


def test_a_response_has_openais_shape(client):
    response = ask(client)
    assert (response.object, response.model) == ("response", CHAT_MODEL)
    assert "user" not in response.model_fields_set, "the specification knows no null there"
    assert response.status in ("completed", "incomplete")
    assert response.output_text.strip()
    assert response.usage is not None
    assert response.usage.input_tokens > 0
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_a_stream_says_what_the_whole_response_says(server, client):
    whole, events = ask(client), stream(server)
    last = Response.model_validate(events[-1]["response"])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert last.output_text == whole.output_text
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == last.output_text
    assert last.usage is not None and whole.usage is not None
    assert last.usage.total_tokens == whole.usage.total_tokens
    assert last.status == whole.status


def test_the_sdk_accumulates_a_stream(client):
    with client.responses.stream(model=CHAT, input=COLOURS, max_output_tokens=400, temperature=0) as streamed:
        text = "".join(event.delta for event in streamed if event.type == "response.output_text.delta")
        final = streamed.get_final_response()
    assert text == final.output_text == ask(client, max_output_tokens=400).output_text


def test_a_limit_is_told(client):
    response = ask(client, max_output_tokens=3)
    assert (response.status, response.usage.output_tokens) == ("incomplete", 3)
    assert response.incomplete_details.reason == "max_output_tokens"


def test_instructions_are_read(client):
    assert ask(client).usage.input_tokens != ask(client, instructions="Answer in French.").usage.input_tokens


def test_tokens_are_counted_as_they_will_be_read(client):
    prompt: dict[str, Any] = {"model": CHAT, "input": "Name one colour: grün.", "instructions": "Be brief.", "tools": [LIGHT]}
    counted = client.responses.input_tokens.count(**prompt)
    assert counted.object == "response.input_tokens"
    assert counted.input_tokens == ask(client, **prompt, max_output_tokens=1).usage.input_tokens


class Colour(BaseModel):
    name: str
    dark: bool


def test_structured_output_is_parsed_by_the_sdk(client):
    parsed = client.responses.parse(model=CHAT, input=COLOURS, max_output_tokens=80, temperature=0, text_format=Colour)
    assert isinstance(parsed.output_parsed, Colour)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "switch_light"}])
def test_a_function_is_called_and_its_output_taken(server, client, choice):
    fields: dict[str, Any] = {"input": "Turn on the light.", "tools": [LIGHT], "tool_choice": choice}
    first = ask(client, **fields, max_output_tokens=80)
    (call,) = first.output
    assert (call.type, call.name) == ("function_call", "switch_light")
    assert isinstance(json.loads(call.arguments)["on"], bool)
    events = stream(server, **fields | {"max_output_tokens": 80})
    (streamed,) = events[-1]["response"]["output"]
    assert streamed["arguments"] == call.arguments
    assert any(event["type"] == "response.function_call_arguments.delta" for event in events)
    answered = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    second = ask(client, input=[{"role": "user", "content": "Turn on the light."}, *first.output, answered], tools=[LIGHT])
    assert second.usage.input_tokens > first.usage.input_tokens


def test_log_probabilities_are_told(server, client):
    fields: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 4}
    for text in (
        ask(client, **fields).output[0].content[0],
        stream(server, **fields)[-1]["response"]["output"][0]["content"][0],
    ):
        logprobs = text["logprobs"] if isinstance(text, dict) else [item.model_dump() for item in text.logprobs]
        assert len(logprobs) == 4
        assert all(len(item["top_logprobs"]) == 2 and item["logprob"] <= 0 for item in logprobs)


def test_what_cannot_be_done_is_a_400_that_says_so(client):
    with pytest.raises(openai.BadRequestError, match="run it yourself") as caught:
        ask(client, tools=[{"type": "web_search"}])
    assert caught.value.param == "tools[0].type"


def test_a_prompt_that_does_not_fit_is_told_before_the_stream(server):
    for streamed in (False, True):
        body = {"model": CHAT, "input": "word " * 20_000, "stream": streamed}
        status, _, answer = server.post("/v1/responses", body)
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "context_length_exceeded", "input")


def test_an_error_within_a_stream_ends_it_with_a_failed_response(fake_server):
    text = '[[fake:{"tokens": 9, "error_at_token": 3}]] one two three four five'
    events = stream(fake_server, input=text, model="fake")
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_what_codex_sends_is_taken(fake):
    """The shape of its requests: instructions, many items, function tools, encrypted reasoning asked for, nothing stored."""
    body: dict[str, Any] = {
        "model": CHAT,
        "instructions": "You are a coding agent.",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions/>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List the files."}]},
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": None},
            {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "call_1"},
            {"type": "function_call_output", "call_id": "call_1", "output": "README.md"},
        ],
        "tools": [{**LIGHT, "name": "shell"}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "5f0c",
        "client_metadata": {"x-codex-installation-id": "1"},
    }
    with fake.responses.create(**{k: v for k, v in body.items() if k != "client_metadata"}) as events:
        assert [event.type for event in events][-1] == "response.completed"
    assert fake.post("/responses", cast_to=object, body={**body, "stream": False})
