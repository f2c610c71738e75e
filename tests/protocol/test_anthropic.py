"""How a chat's pieces become Anthropic's blocks, whatever the pieces are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from freehold.errors import InvalidRequest, ModelFailed
from freehold.protocol.anthropic.joiner import MessagesJoiner, message_of
from freehold.protocol.anthropic.plan import count_plan, messages_plan
from freehold.protocol.plan import Plan
from freehold.protocol.requests import parse
from freehold.protocol.requests.anthropic import CountRequest, MessagesRequest
from freehold.protocol.stops import StopFinder
from freehold.protocol.values import Target

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
TARGET = Target("m", "chat", 4096, 2, 1000, 512, frozenset({"chat", "completion", "tools", "thinking", "vision"}))


def plan(target: Target = TARGET, **fields: Any) -> Plan:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]} | fields
    return messages_plan(parse(MessagesRequest, json.dumps(body).encode()).value, target)


def engine(**fields: Any) -> dict[str, Any]:
    """What the engine is asked."""
    return json.loads(plan(**fields).bodies[0])


def joiner(**fields: Any) -> MessagesJoiner:
    made = plan(stream=True, **fields).joiner(())
    assert isinstance(made, MessagesJoiner)
    return made


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def end(finish: str = "stop") -> list[dict[str, Any]]:
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    return [chunk({}, finish), {"id": "x", "choices": [], "usage": usage}]


def streamed(made: MessagesJoiner, *chunks: dict[str, Any]) -> list[dict[str, Any]]:
    events = [*made.opening()]
    for item in chunks:
        events += made.chunk(0, item)
        if made.complete:
            break
    events += made.closing()
    for event in events:
        if event["type"] != "ping":
            EVENT.validate_python(event)
    Message.model_validate(message_of(events))
    return events


def test_thinking_comes_before_the_text_in_a_block_of_its_own():
    deltas = [{"role": "assistant", "content": None}, {"reasoning_content": "Let "}, {"reasoning_content": "me"}]
    events = streamed(joiner(), *map(chunk, [*deltas, {"content": "Yes"}]), *end())
    assert message_of(events)["content"] == [
        {"type": "thinking", "thinking": "Let me", "signature": "unsigned"},
        {"type": "text", "text": "Yes"},
    ]
    assert [event["index"] for event in events if event["type"] == "content_block_stop"] == [0, 1]


def test_thinking_that_is_not_to_be_shown_leaves_an_empty_block():
    thinking = {"type": "adaptive", "display": "omitted"}
    events = streamed(joiner(thinking=thinking), chunk({"reasoning_content": "secret"}), chunk({"content": "Yes"}), *end())
    assert "secret" not in json.dumps(events)
    assert [block["type"] for block in message_of(events)["content"]] == ["thinking", "text"]


def test_several_tools_are_used_and_a_name_that_grew_is_told_once():
    calls = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "get", "arguments": ""}},
        {"index": 0, "id": "a", "type": "function", "function": {"name": "get_weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 0, "function": {"arguments": ' "Paris"}'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "get_time", "arguments": ""}},
    ]
    pieces = [chunk({"content": "I look."}), *(chunk({"tool_calls": [call]}) for call in calls)]
    message = message_of(streamed(joiner(), *pieces, *end("tool_calls")))
    text, weather, clock = message["content"]
    assert (text["text"], message["stop_reason"]) == ("I look.", "tool_use")
    assert (weather["name"], weather["input"]) == ("get_weather", {"city": "Paris"})
    assert (clock["name"], clock["input"]) == ("get_time", {})
    assert weather["id"] != clock["id"]


def test_an_input_that_the_limit_cut_short_is_empty_and_says_why():
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "get", "arguments": '{"city": "Pa'}}
    message = message_of(streamed(joiner(), chunk({"tool_calls": [call]}), *end("length")))
    assert (message["stop_reason"], message["content"][0]["input"]) == ("max_tokens", {})


def test_what_is_cached_is_counted_apart():
    usage = message_of(streamed(joiner(), chunk({"content": "x"}), *end()))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (5, 4, 5)


def test_a_long_prompt_is_told_of_while_it_is_read_and_a_short_one_is_not():
    def progress(processed: int) -> dict[str, Any]:
        told = {"total": 3000, "cache": 0, "processed": processed, "time_ms": 1}
        return chunk({"role": "assistant", "content": None}, prompt_progress=told)

    made = joiner()
    assert list(made.chunk(0, progress(0))) == []
    assert [event["type"] for event in made.chunk(0, progress(512))] == ["message_start", "ping", "ping"]
    assert [event["type"] for event in made.chunk(0, progress(1024))] == ["ping"]
    short = joiner()
    assert not [event for done in (0, 3000) for event in short.chunk(0, progress(done))]


def test_an_error_after_the_first_byte_is_an_event():
    assert list(joiner().failed(ModelFailed("It died."))) == [
        {"type": "error", "error": {"type": "overloaded_error", "message": "It died."}}
    ]


def test_an_answer_without_words_is_a_message_all_the_same():
    message = message_of(streamed(joiner(), *end()))
    assert (message["content"], message["stop_reason"]) == ([], "end_turn")


@given(st.text("ab<>", max_size=60), st.lists(st.text("ab<>", min_size=1, max_size=4), min_size=1, max_size=3), st.data())
def test_a_stop_string_is_found_however_the_text_is_cut(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    finder, said = StopFinder(stops), ""
    for piece in pieces:
        said += finder.feed(piece)
        if finder.found:
            break
    said += finder.end()
    ends = sorted((text.find(stop) + len(stop), text.find(stop), stop) for stop in stops if stop in text)
    if ends:
        assert finder.found in stops
        assert text.startswith(said + finder.found)
        assert not any(stop in said for stop in stops)
    else:
        assert (finder.found, said) == (None, text)


def test_turns_of_one_role_are_joined_and_results_stand_first():
    messages = [
        {"role": "user", "content": "One"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {"at": "it"}}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See."},
                {"type": "tool_result", "tool_use_id": "t", "content": "blind", "is_error": True},
            ],
        },
    ]
    said = engine(messages=messages, system=[{"type": "text", "text": "A"}, {"type": "text", "text": "B"}])["messages"]
    assert [message["role"] for message in said] == ["system", "user", "assistant", "tool", "user"]
    assert said[0]["content"] == "A\n\nB"
    assert [part["text"] for part in said[1]["content"]] == ["One", "two"]
    assert json.loads(said[2]["tool_calls"][0]["function"]["arguments"]) == {"at": "it"}
    assert (said[3]["content"], said[4]["content"]) == ("Error: blind", "See.")


def test_a_picture_in_a_result_is_shown_after_it():
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    messages = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [picture]}]},
    ]
    made = plan(messages=messages)
    assert [image.url for image in made.images] == ["data:image/png;base64,AAAA"]
    assert [message["role"] for message in json.loads(made.bodies[0])["messages"]][-2:] == ["tool", "user"]


@pytest.mark.parametrize(
    ("thinking", "engine_fields"),
    [
        (None, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"type": "disabled"}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"type": "adaptive"}, {"chat_template_kwargs": {"enable_thinking": True}}),
        (
            {"type": "enabled", "budget_tokens": 1024},
            {"chat_template_kwargs": {"enable_thinking": True}, "thinking_budget_tokens": 1024},
        ),
    ],
)
def test_a_model_that_can_be_told_thinks_when_it_is_asked_to(thinking, engine_fields):
    body = engine(max_tokens=2000, **({"thinking": thinking} if thinking else {}))
    assert {name: body.get(name) for name in engine_fields} == engine_fields
    assert ("thinking_budget_tokens" in body) == ("thinking_budget_tokens" in engine_fields)


def test_a_tool_that_must_be_used_leaves_no_room_to_think():
    tool = {"name": "look", "input_schema": {"type": "object"}}
    fields = {"tools": [tool], "tool_choice": {"type": "any"}, "max_tokens": 2000}
    body = engine(thinking={"type": "enabled", "budget_tokens": 1024}, **fields)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "thinking_budget_tokens" not in body


def test_stop_sequences_are_ours_to_find_so_the_engine_is_followed_also_for_a_whole_answer():
    made = plan(stop_sequences=["END"])
    body = json.loads(made.bodies[0])
    assert (made.followed, made.stream, body["stream"], "stop" in body) == (True, False, True, False)
    assert not plan().followed


def test_counting_takes_the_prompt_alone():
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}).encode()
    with pytest.raises(InvalidRequest, match="max_tokens"):
        parse(CountRequest, body)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    assert json.loads(count_plan(parse(CountRequest, body).value, TARGET).bodies[0])["messages"] == [
        {"role": "user", "content": "Hi"}
    ]
