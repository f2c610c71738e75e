"""Anthropic's Python SDK, unchanged, against the real starter model and the fake engine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import BaseModel, TypeAdapter

from freehold.protocol.anthropic.joiner import message_of
from tests.conftest import Server, fake_model, serving, until
from tests.sdk.wire import CHAT_MODEL

CLAUDE = "claude-haiku-5-5"
COLOURS: list[Any] = [{"role": "user", "content": "Name three colours."}]
FRENCH = "Answer in French."
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
LIGHT = {
    "name": "switch_light",
    "description": "Switches a light",
    "input_schema": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]},
}


def connect(server: Server, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.root, **({"api_key": "none", "max_retries": 0} | options))


@pytest.fixture(scope="module")
def client(server) -> Iterator[anthropic.Anthropic]:
    with connect(server) as client:
        yield client


@pytest.fixture(scope="module")
def fake(fake_server) -> Iterator[anthropic.Anthropic]:
    with connect(fake_server) as client:
        yield client


def ask(client: anthropic.Anthropic, **fields: Any) -> Message:
    """A whole message, validated by the SDK's own type."""
    given = {"model": CLAUDE, "max_tokens": 24, "messages": COLOURS, "extra_body": {"temperature": 0}} | fields
    raw = client.messages.with_raw_response.create(**given)
    return Message.model_validate_json(raw.http_response.content, strict=False)


def stream(server: Server, **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream as they are sent, each validated by the SDK's own types; pings are left in."""
    body = {"model": CLAUDE, "max_tokens": 24, "messages": COLOURS, "temperature": 0, "stream": True} | fields
    status, headers, text = server.post("/v1/messages", body, headers={"anthropic-version": "2023-06-01"})
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), text
    events = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        if event["type"] != "ping":
            EVENT.validate_python(event)
        events.append(event)
    return events


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message_has_anthropics_shape(client):
    message = ask(client)
    assert (message.type, message.role, message.model) == ("message", "assistant", CHAT_MODEL)
    assert text_of(message).strip()
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 0
    assert message.usage.output_tokens > 0


def test_a_stream_says_what_the_whole_message_says(server, client):
    whole = ask(client)
    events = stream(server)
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[2] == "content_block_start"
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    told = message_of(events)
    assert told["content"] == [{"type": "text", "text": text_of(whole)}]
    assert told["stop_reason"] == whole.stop_reason
    counted = {name: told["usage"][name] for name in ("input_tokens", "cache_read_input_tokens", "output_tokens")}
    assert sum(counted.values()) == whole.usage.input_tokens + whole.usage.cache_read_input_tokens + whole.usage.output_tokens
    start = events[0]["message"]["usage"]
    assert (
        start["input_tokens"] + start["cache_read_input_tokens"]
        == told["usage"]["input_tokens"] + told["usage"]["cache_read_input_tokens"]
    ), "the prompt is counted before the first token"


def test_the_sdk_accumulates_a_stream(client):
    with client.messages.stream(model=CLAUDE, max_tokens=24, messages=COLOURS, extra_body={"temperature": 0}) as streamed:
        text = "".join(streamed.text_stream)
        final = streamed.get_final_message()
    assert text == text_of(final) == text_of(ask(client))
    assert final.stop_reason


@pytest.mark.parametrize("streamed", [False, True])
def test_the_stop_sequence_that_was_met_is_told(server, client, streamed):
    text = text_of(ask(client))
    stop = text.split()[1]
    fields: dict[str, Any] = {"stop_sequences": ["never said", stop]}
    made = message_of(stream(server, **fields)) if streamed else ask(client, **fields).model_dump()
    assert (made["stop_reason"], made["stop_sequence"]) == ("stop_sequence", stop)
    assert "".join(block["text"] for block in made["content"]) == text[: text.index(stop)]
    assert 0 < made["usage"]["output_tokens"] < 24
    assert made["usage"]["input_tokens"] + made["usage"]["cache_read_input_tokens"] > 10


def test_a_limit_is_told(client):
    message = ask(client, max_tokens=3)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)


@pytest.mark.parametrize(
    "system", [FRENCH, [{"type": "text", "text": FRENCH, "cache_control": {"type": "ephemeral"}}]], ids=["string", "blocks"]
)
def test_a_system_prompt_is_read_in_either_form(client, system):
    plain, told = ask(client), ask(client, system=system)

    def size(message: Message) -> int:
        return message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)

    assert size(plain) != size(told)


def test_tokens_are_counted_as_they_will_be_read(client):
    prompt: dict[str, Any] = {
        "model": CLAUDE,
        "system": "You are brief.",
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
            {"role": "user", "content": [{"type": "text", "text": "Name "}, {"type": "text", "text": "one colour: grün."}]},
        ],
        "tools": [LIGHT],
    }
    counted = client.messages.count_tokens(**prompt).input_tokens
    usage = client.messages.create(**prompt, max_tokens=1).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_a_prefix_that_was_read_before_is_counted_as_cached(client):
    messages = [{"role": "user", "content": "A story of a fox: " + "it ran and ran. " * 40}]
    first, again = (ask(client, messages=messages, max_tokens=1).usage for _ in range(2))
    assert again.cache_read_input_tokens > 100
    assert first.input_tokens + first.cache_read_input_tokens == again.input_tokens + again.cache_read_input_tokens


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "switch_light"}])
def test_a_forced_tool_is_used_whole_and_streamed(server, client, choice):
    fields: dict[str, Any] = {"tools": [LIGHT], "tool_choice": choice, "max_tokens": 60}
    message = ask(client, **fields)
    assert message.stop_reason == "tool_use"
    (used,) = message.content
    assert used.type == "tool_use"
    assert (used.name, isinstance(used.input["on"], bool)) == ("switch_light", True)
    events = stream(server, **fields)
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert set(deltas) == {"input_json_delta"}
    told = message_of(events)
    assert (told["stop_reason"], told["content"][0]["input"]) == ("tool_use", used.input)
    assert told["content"][0]["id"].startswith("toolu_")


def test_a_tool_result_is_read_and_answered(client):
    messages = [
        {"role": "user", "content": "Switch it on."},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "switch_light", "input": {"on": True}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "It is on."}]},
                {"type": "text", "text": "Is it on?"},
            ],
        },
    ]
    assert text_of(ask(client, messages=messages, tools=[LIGHT], tool_choice={"type": "none"})).strip()
    messages[2]["content"][0]["tool_use_id"] = "toolu_2"
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[2\]\.content\[0\]\.tool_use_id"):
        ask(client, messages=messages, tools=[LIGHT])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_that_the_model_chooses_is_used(server, client, streamed):
    """Shown twice how it is done, the small model does it, too."""

    def turn(city: str) -> list[dict[str, Any]]:
        call = f'<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'
        return [{"role": "user", "content": f"Call get_weather for {city}."}, {"role": "assistant", "content": call}]

    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    fields: dict[str, Any] = {
        "messages": [*turn("Rome"), *turn("Rome"), turn("Paris")[0]],
        "tools": [{"name": "get_weather", "input_schema": schema}],
        "max_tokens": 60,
    }
    made = message_of(stream(server, **fields)) if streamed else ask(client, **fields).model_dump()
    assert made["stop_reason"] == "tool_use"
    used = next(block for block in made["content"] if block["type"] == "tool_use")
    assert (used["name"], used["input"]["city"] in ("Paris", "Rome")) == ("get_weather", True)


class Colour(BaseModel):
    name: str
    dark: bool


def test_structured_output_is_parsed_by_the_sdk(client):
    parsed = client.messages.parse(model=CLAUDE, max_tokens=80, messages=COLOURS, output_format=Colour)
    assert isinstance(parsed.parsed_output, Colour)


def test_models_are_listed_in_anthropics_shape(client):
    listed = {model.id: model for model in client.models.list()}
    assert listed[CHAT_MODEL].type == "model"
    assert listed[CHAT_MODEL].max_input_tokens
    assert client.models.retrieve(CLAUDE).id == CHAT_MODEL


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [*COLOURS, {"role": "assistant", "content": "Red,"}]}, "beginning of the answer"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, r"messages\[0\]\.content\[0\]\.type"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "run it yourself"),
        ({"tool_choice": {"type": "any"}}, "tools"),
        ({"extra_body": {"mcp_servers": [{"type": "url"}]}}, "mcp_servers"),
        ({"extra_body": {"unheard_of": 1}}, "unheard_of"),
        ({"extra_body": {"temperature": 1.5}}, "temperature"),
        ({"container": "x"}, "container"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "budget_tokens"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_says_so(client, fields, says):
    with pytest.raises(anthropic.BadRequestError, match=says) as caught:
        ask(client, **fields)
    body = caught.value.body
    assert isinstance(body, dict)
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert body["request_id"] == caught.value.request_id


def test_errors_have_anthropics_types(client, server):
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(client, model="no-such-model")
    assert caught.value.body["error"]["type"] == "not_found_error"
    status, _, body = server.post("/v1/messages", b"{", headers={"anthropic-version": "2023-06-01"})
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    status, _, body = server.get("/v1/messages/nothing", headers={"anthropic-version": "2023-06-01"})
    assert (status, body["error"]["type"]) == (404, "not_found_error")


def test_thinking_that_a_model_has_not_costs_nothing(client):
    message = ask(client, thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=1030, stop_sequences=[" "])
    assert [block.type for block in message.content] == ["text"]


def test_the_key_is_taken_from_either_header_and_refused_in_anthropics_words(tmp_path):
    fake_model(tmp_path)
    with serving(tmp_path, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_MAX_BODY_BYTES": "2000"}, key="sesame") as server:
        for options in ({"api_key": "sesame"}, {"api_key": None, "auth_token": "sesame"}):
            with connect(server, **options) as client:
                assert text_of(ask(client)) == "Name three colours."
        with connect(server, api_key="wrong") as client:
            with pytest.raises(anthropic.AuthenticationError) as caught:
                ask(client)
            assert caught.value.body["error"]["type"] == "authentication_error"
        with connect(server, api_key="sesame") as client, pytest.raises(anthropic.RequestTooLargeError) as large:
            ask(client, messages=[{"role": "user", "content": "x" * 3000}])
        assert large.value.body["error"]["type"] == "request_too_large"


def test_an_error_within_a_stream_is_raised_by_the_sdk(fake):
    messages = [{"role": "user", "content": '[[fake:{"tokens": 9, "error_at_token": 3}]] one two three four five'}]
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        fake.messages.stream(model="fake", max_tokens=50, messages=messages) as streamed,
    ):
        said = list(streamed.text_stream)
        assert said
    assert caught.value.body["error"]["type"] == "api_error"


def test_a_worker_that_dies_within_a_stream_ends_it_well(fake_server):
    text = '[[fake:{"tokens": 9, "die_at_token": 3}]] one two three four five'
    body = {"model": "fake", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": text}]}
    _, _, raw = fake_server.post("/v1/messages", body)
    last = json.loads(raw.strip().split("\n\n")[-1].split("data: ")[1])
    assert (last["type"], last["error"]["type"]) == ("error", "overloaded_error")
    until(lambda: fake_server.worker("fake")["state"] == "ready")  # the tests after this one share it


def test_what_claude_code_sends_is_taken(fake):
    """The shape of its requests: many system blocks with cache marks, thinking that adapts, context management, many tools."""
    body: dict[str, Any] = {
        "model": CLAUDE,
        "max_tokens": 32000,
        "stream": False,
        "system": [
            {"type": "text", "text": "You are a coding agent.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be careful.", "cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "global"}},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<system-reminder>today</system-reminder>"},
                    {"type": "text", "text": "List the files.", "cache_control": {"type": "ephemeral"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I look.", "signature": "unsigned"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"command": "ls"}},
                    {"type": "tool_use", "id": "toolu_02", "name": "mcp__" + "long_" * 14 + "name", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"tool_use_id": "toolu_01", "type": "tool_result", "content": "README.md", "is_error": False},
                    {"tool_use_id": "toolu_02", "type": "tool_result", "content": "no such tool", "is_error": True},
                    {"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral"}},
                ],
            },
        ],
        "tools": [
            {"name": "Bash", "description": "Runs a command", "input_schema": {"type": "object", "properties": {}}},
            {
                "name": "mcp__" + "long_" * 14 + "name",
                "description": "",
                "input_schema": {"type": "object"},
                "defer_loading": True,
            },
        ],
        "metadata": {"user_id": "user_1_account__session_2"},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }
    beta = {"anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27"}
    message = fake.post("/v1/messages?beta=true", cast_to=Message, body=body, options={"headers": beta})
    assert text_of(message) == "Go on."
    counting = {name: body[name] for name in ("model", "system", "messages", "tools", "thinking")}
    assert fake.post("/v1/messages/count_tokens", cast_to=object, body=counting)["input_tokens"] > 0


def test_a_picture_is_checked_before_any_model_sees_it(fake):
    def image(source: dict[str, Any]) -> list[Any]:
        return [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]}]

    data = base64.b64encode(b"no picture").decode()
    with pytest.raises(anthropic.BadRequestError, match="text only"):
        ask(fake, model="fake", messages=image({"type": "base64", "media_type": "image/png", "data": data}))
    with pytest.raises(anthropic.BadRequestError):
        ask(fake, model="fake", messages=image({"type": "url", "url": "http://example.com/x.png"}))


def test_the_sdks_tool_runner_goes_on_by_itself_where_no_conversation_is_held(client):
    @anthropic.beta_tool
    def switch_light(on: bool) -> str:
        """Switches a light."""
        return f"It is {on}."

    runner = client.beta.messages.tool_runner(
        model=CLAUDE, max_tokens=60, messages=COLOURS, tools=[switch_light], tool_choice={"type": "any"}, max_iterations=2
    )
    assert [message.stop_reason for message in runner] == ["tool_use", "tool_use"]
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model=CLAUDE, max_tokens=9, messages=COLOURS, extra_body={"thread": {"type": "create"}})
    assert caught.value.body["error"]["details"]["error_code"] == "thread_unsupported_request"
