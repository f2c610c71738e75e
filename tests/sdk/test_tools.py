"""Tools with OpenAI's Python SDK against the real starter model. What a 135M model decides is its own business; that a forced
call is well-formed, streamed or not, is the server's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.sdk.wire import CHAT, chat, chat_stream, finish, said

CITIES = ["Paris", "London", "Rome"]
MESSAGES = [{"role": "user", "content": "What is the weather in Paris?"}]


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": f"Calls {name}", "parameters": schema}}


WEATHER = tool("get_weather", city={"type": "string", "enum": CITIES})
LIGHT = tool("switch_light", on={"type": "boolean"})
FORCED = {"type": "function", "function": {"name": "switch_light"}}


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


def calls(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tool calls a stream adds up to, as a client adds them up: name and id come once, arguments in pieces."""
    joined: dict[int, dict[str, Any]] = {}
    for delta in (choice["delta"] for chunk in chunks for choice in chunk["choices"]):
        for part in delta.get("tool_calls") or []:
            call = joined.setdefault(part["index"], {"id": None, "name": None, "arguments": ""})
            for name, value in (("id", part.get("id")), ("name", part["function"].get("name"))):
                assert value is None or call[name] is None, f"{name} came twice"
                call[name] = call[name] if value is None else value
            call["arguments"] += part["function"].get("arguments") or ""
    return [joined[index] for index in sorted(joined)]


def test_a_required_call_is_made_with_arguments_of_the_schema(client):
    body = chat(client, messages=MESSAGES, tools=[WEATHER, LIGHT], tool_choice="required", max_tokens=80)
    choice = body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert (call["type"], bool(call["id"])) == ("function", True)
    arguments = json.loads(call["function"]["arguments"])
    match call["function"]["name"]:
        case "get_weather":
            assert arguments["city"] in CITIES
        case "switch_light":
            assert isinstance(arguments["on"], bool)
        case other:
            pytest.fail(f"no such tool: {other}")


def test_a_named_call_is_the_one_named(client):
    body = chat(client, messages=MESSAGES, tools=[WEATHER, LIGHT], tool_choice=FORCED, max_tokens=80)
    choice = body["choices"][0]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["switch_light"]
    assert isinstance(json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])["on"], bool)
    # With a named function OpenAI itself says "stop"; both are understood by clients.
    assert choice["finish_reason"] in {"stop", "tool_calls"}


@pytest.mark.parametrize("tool_choice", ["required", FORCED], ids=["required", "named"])
def test_a_streamed_call_adds_up_to_the_whole_one(client, tool_choice):
    fields = {"messages": MESSAGES, "tools": [WEATHER, LIGHT], "tool_choice": tool_choice, "max_tokens": 80}
    whole = chat(client, **fields)["choices"][0]
    chunks = chat_stream(client, **fields)
    streamed = calls(chunks)
    assert all(call["id"] for call in streamed)
    assert [(call["name"], json.loads(call["arguments"])) for call in streamed] == [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in whole["message"]["tool_calls"]
    ]
    assert finish(chunks) == whole["finish_reason"]


def test_a_result_goes_back_and_is_answered(client):
    call = chat(client, messages=MESSAGES, tools=[WEATHER], tool_choice="required", max_tokens=80)["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": '{"celsius": 21, "sky": "clear"}'}
    messages = [*MESSAGES, call, result]
    body = chat(client, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=40)
    message = body["choices"][0]["message"]
    assert message["content"].strip()
    assert not message.get("tool_calls")
    without = chat(client, messages=MESSAGES, tools=[WEATHER], tool_choice="none", max_tokens=1)
    assert body["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"], "the result is part of the prompt"


def test_the_tools_are_part_of_the_prompt(client):
    bare = chat(client, messages=MESSAGES, max_tokens=1)["usage"]["prompt_tokens"]
    assert chat(client, messages=MESSAGES, tools=[WEATHER], max_tokens=1)["usage"]["prompt_tokens"] > bare


def test_none_calls_nothing(client):
    choice = chat(client, messages=MESSAGES, tools=[WEATHER], tool_choice="none", max_tokens=24)["choices"][0]
    assert not choice["message"].get("tool_calls")
    assert choice["finish_reason"] in {"stop", "length"}


def test_auto_lets_the_model_call(client):
    def turn(city: str) -> list[dict[str, Any]]:
        call = f'<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'
        return [{"role": "user", "content": f"Call get_weather for {city}."}, {"role": "assistant", "content": call}]

    # Two examples to go by: this small a model does not think of it by itself.
    messages = [*turn("Rome"), *turn("London"), turn("Paris")[0]]
    fields = {"messages": messages, "tools": [WEATHER], "max_tokens": 60}
    choice = chat(client, **fields)["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Paris"})
    assert (choice["finish_reason"], choice["message"]["content"] or None) == ("tool_calls", None)
    chunks = chat_stream(client, **fields)
    assert [(part["name"], json.loads(part["arguments"])) for part in calls(chunks)] == [("get_weather", {"city": "Paris"})]
    assert finish(chunks) == "tool_calls"
    assert not said(chunks)


def test_auto_lets_the_model_answer(client):
    fields = {"messages": [{"role": "user", "content": "Say hello."}], "tools": [WEATHER], "max_tokens": 24}
    choice = chat(client, **fields)["choices"][0]
    assert choice["message"]["content"].strip()
    assert said(chat_stream(client, **fields)) == choice["message"]["content"]


class SetLight(BaseModel):
    """Switches a light."""

    room: Literal["kitchen", "bath"]
    on: bool


def test_pydantic_tools_come_back_as_objects(client):
    answer = client.chat.completions.parse(
        model=CHAT,
        messages=[{"role": "user", "content": "Switch on the light in the kitchen."}],
        tools=[openai.pydantic_function_tool(SetLight)],
        tool_choice="required",
        temperature=0,
        max_completion_tokens=80,
    )
    assert isinstance(answer.choices[0].message.tool_calls[0].function.parsed_arguments, SetLight)


def test_the_stream_helper_understands_the_pieces(client):
    with client.chat.completions.stream(
        model=CHAT, messages=MESSAGES, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=80
    ) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [event.name for event in done] == ["get_weather"]
    assert json.loads(done[0].arguments)["city"] in CITIES


def test_parallel_calls_can_be_ruled_out(client):
    fields = {"messages": MESSAGES, "tools": [WEATHER, LIGHT], "tool_choice": "required", "max_tokens": 80}
    message = chat(client, parallel_tool_calls=False, **fields)["choices"][0]["message"]
    assert len(message["tool_calls"]) == 1


class Person(BaseModel):
    name: Literal["Ada", "Alan"]
    friends: list[Person]


class Party(BaseModel):
    host: Person
    guests: list[Person]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "Party"}}])
def test_a_tool_of_nested_models_is_called(client, choice):
    party = openai.pydantic_function_tool(Party)
    for tools in ([party], [party, LIGHT]):
        given = {"messages": MESSAGES, "tools": tools, "tool_choice": choice, "max_tokens": 300, "temperature": 0.8}
        for seed in range(2):
            choice_made = chat(client, **given, seed=seed)["choices"][0]
            call = choice_made["message"]["tool_calls"][0]["function"]
            if call["name"] == "Party" and choice_made["finish_reason"] != "length":
                assert Party.model_validate_json(call["arguments"])


FORM = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": {
    "type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"], "additionalProperties": False,
}}}  # fmt: skip


def test_with_tools_and_a_format_the_answer_is_a_call_or_holds_to_the_format(client):
    given = {"messages": MESSAGES, "tools": [WEATHER, LIGHT], "response_format": FORM, "max_tokens": 120}
    for seed, temperature in enumerate((0, 1, 1)):
        choice = chat(client, **given, seed=seed, temperature=temperature)["choices"][0]
        chunks = chat_stream(client, **given, seed=seed, temperature=temperature)
        for calls_made, text, reason in (
            (choice["message"].get("tool_calls"), choice["message"]["content"], choice["finish_reason"]),
            ([{"function": call} for call in calls(chunks)], said(chunks), finish(chunks)),
        ):
            if reason == "tool_calls":
                assert json.loads(calls_made[0]["function"]["arguments"])
                assert not text
            else:
                assert isinstance(json.loads(text)["sure"], bool)


def test_a_call_that_must_be_made_leaves_nothing_for_a_format_to_hold(client):
    body = chat(client, messages=MESSAGES, tools=[LIGHT], tool_choice=FORCED, response_format=FORM, max_tokens=60)
    assert isinstance(json.loads(body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])["on"], bool)
