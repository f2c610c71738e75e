"""How items become a chat, and a chat's pieces items and events, whatever the pieces are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from freehold.errors import InvalidRequest, ModelFailed
from freehold.protocol.plan import Plan
from freehold.protocol.requests import parse
from freehold.protocol.requests.responses import ResponsesRequest
from freehold.protocol.responses.joiner import ResponsesJoiner
from freehold.protocol.responses.plan import own_items, plan_of
from freehold.protocol.responses.records import known, record
from freehold.protocol.values import Target

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
DOCUMENTED = json.loads((Path(__file__).parent.parent / "data" / "openai-parameters.json").read_text())["response"]
TARGET = Target("m", "chat", 4096, 2, 1000, 512, frozenset({"chat", "tools", "thinking", "vision"}), {"temperature": 0.2})
CALL = {"type": "function_call", "call_id": "c1", "name": "get", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "42"}
TOOL = {"type": "function", "name": "get", "parameters": {"type": "object", "properties": {}}, "strict": False}


def plan(target: Target = TARGET, **fields: Any) -> Plan:
    request = parse(ResponsesRequest, json.dumps({"model": "m", "input": "Hi"} | fields).encode()).value
    return plan_of(request, own_items(request), target, "resp_1", 1)


def engine(**fields: Any) -> dict[str, Any]:
    """What the engine is asked."""
    return dict(json.loads(plan(**fields).bodies[0]))


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        plan(**fields)
    return caught.value


def joiner(**fields: Any) -> ResponsesJoiner:
    made = plan(stream=True, **fields).joiner(())
    assert isinstance(made, ResponsesJoiner)
    return made


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def end(finish: str = "stop") -> list[dict[str, Any]]:
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    return [chunk({}, finish), {"id": "x", "choices": [], "usage": usage}]


def streamed(made: ResponsesJoiner, *chunks: dict[str, Any]) -> list[dict[str, Any]]:
    """The events, held to the SDK's types and to what its own accumulation relies on."""
    events = [*made.opening()]
    for item in chunks:
        events += made.chunk(0, item)
    events += made.closing()
    return checked(json.loads(json.dumps(events)))


def checked(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for number, event in enumerate(events):
        EVENT.validate_python(event)
        assert event["sequence_number"] == number
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]["response"]
    Response.model_validate(last)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == last["output"]
    for place, item in enumerate(done):
        deltas = [event["delta"] for event in events if event.get("output_index") == place and "delta" in event]
        assert "".join(deltas) == (item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])
    return events


def output(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(events[-1]["response"]["output"])


def test_every_documented_parameter_is_known_and_no_other():
    assert set(ResponsesRequest.model_fields) - {"keep_alive", "priority", "client_metadata"} == set(DOCUMENTED)


def test_reasoning_comes_before_the_message_in_an_item_of_its_own():
    deltas = [{"role": "assistant", "content": None}, {"reasoning_content": "Let "}, {"reasoning_content": "me"}]
    thought = [chunk(delta, timings={"predicted_n": number}) for number, delta in enumerate(deltas)]
    events = streamed(joiner(), *thought, chunk({"content": "Yes"}, timings={"predicted_n": 5}), *end())
    reasoning, message = output(events)
    assert (reasoning["type"], reasoning["content"]) == ("reasoning", [{"type": "reasoning_text", "text": "Let me"}])
    assert (message["content"][0]["text"], message["role"], message["status"]) == ("Yes", "assistant", "completed")
    usage = events[-1]["response"]["usage"]
    assert usage["output_tokens_details"] == {"reasoning_tokens": 2}
    assert (usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"], usage["total_tokens"]) == (9, 4, 14)


def test_several_functions_are_called_and_a_name_that_grew_is_told_once():
    calls = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "get", "arguments": ""}},
        {"index": 0, "id": "a", "type": "function", "function": {"name": "get_weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 0, "function": {"arguments": ' "Paris"}'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "get_time", "arguments": ""}},
    ]
    pieces = [chunk({"content": "I look."}), *(chunk({"tool_calls": [call]}) for call in calls)]
    message, weather, clock = output(streamed(joiner(), *pieces, *end("tool_calls")))
    assert message["content"][0]["text"] == "I look."
    assert (weather["name"], weather["arguments"], weather["call_id"]) == ("get_weather", '{"city": "Paris"}', "a")
    assert (clock["name"], clock["arguments"], clock["call_id"]) == ("get_time", "", "b")
    assert weather["id"] != clock["id"]


def test_an_answer_that_its_limit_cut_short_is_incomplete():
    events = streamed(joiner(), chunk({"content": "So"}), *end("length"))
    assert events[-1]["type"] == "response.incomplete"
    response = events[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["status"] == "incomplete"


def test_an_error_in_the_middle_leaves_a_failed_response():
    made = joiner()
    events = [*made.chunk(0, chunk({"content": "So"})), *made.failed(ModelFailed("The worker died."))]
    checked(json.loads(json.dumps(events)))
    response = events[-1]["response"]
    assert (events[-1]["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"] == {"code": "server_error", "message": "The worker died."}


def test_a_long_prompt_begins_the_stream_while_it_is_read_and_a_short_one_does_not():
    def progress(processed: int) -> dict[str, Any]:
        told = {"total": 3000, "cache": 0, "processed": processed, "time_ms": 1}
        return chunk({"role": "assistant", "content": None}, prompt_progress=told)

    made = joiner()
    assert list(made.chunk(0, progress(0))) == []
    assert [event["type"] for event in made.chunk(0, progress(512))] == ["response.created", "response.in_progress"]
    assert list(made.chunk(0, progress(3000))) == []


def test_log_probabilities_come_with_the_text():
    item = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    piece = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None, "logprobs": {"content": [dict(item, id=1)]}}
    events = streamed(joiner(include=["message.output_text.logprobs"]), {"id": "x", "choices": [piece]}, *end())
    assert output(events)[0]["content"][0]["logprobs"] == [item]


_pieces = st.lists(
    st.one_of(
        st.builds(lambda text: {"content": text}, st.text(max_size=6)),
        st.builds(lambda text: {"reasoning_content": text}, st.text(max_size=6)),
        st.builds(
            lambda index, name, arguments: {
                "tool_calls": [{"index": index, "function": {"name": name, "arguments": arguments}}]
            },
            st.integers(0, 2),
            st.sampled_from(["get", "get_weather"]),
            st.text(max_size=6),
        ),
    ),
    max_size=12,
)


@given(_pieces, st.sampled_from(["stop", "length", "tool_calls"]))
@settings(max_examples=200, deadline=None)
def test_whatever_the_pieces_are_the_events_add_up_to_the_response(pieces, finish):
    streamed(joiner(), *map(chunk, pieces), *end(finish))


# Requests.


def test_items_become_a_chat():
    items = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"role": "user", "content": "What is it?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
        CALL,
        {"role": "user", "content": [{"type": "input_text", "text": "Go on."}]},
        OUTPUT,
    ]  # fmt: skip
    messages = engine(instructions="You help.", input=items)["messages"]
    assert messages == [
        {"role": "system", "content": "You help."},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "What is it?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "user", "content": "Go on."},
    ]


def test_calls_made_at_once_are_one_message_and_images_in_an_output_are_shown():
    second = {**CALL, "call_id": "c2"}
    parts = [{"type": "input_text", "text": "a picture"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]
    seen = {"type": "function_call_output", "call_id": "c2", "output": parts}
    messages = engine(input=[{"role": "user", "content": "x"}, CALL, second, OUTPUT, seen])["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert len(messages[1]["tool_calls"]) == 2
    assert messages[4]["content"][0]["type"] == "image_url"


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"temperature": 0.7, "top_p": 0.5}, {"temperature": 0.7, "top_p": 0.5}),
        ({}, {"temperature": 0.2, "max_tokens": 512}),
        ({"max_output_tokens": 5}, {"max_tokens": 5}),
        ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
        ),
        ({"tools": [TOOL], "parallel_tool_calls": False}, {"parallel_tool_calls": False, "tool_choice": "auto"}),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "get"}}, {"tool_choice": "none"}),
        ({"stream": True}, {"return_progress": True, "stream": True}),
    ],
)
def test_what_is_honoured_reaches_the_engine(fields, sent):
    body = engine(**fields)
    assert {key: body.get(key) for key in sent} == sent


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"input": None}, "input", "Missing"),
        ({"input": 5}, "input", "string or an array"),
        ({"input": []}, "input", "empty"),
        ({"input": [{"role": "user"}]}, "input[0].content", "Missing"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "input[0].content[0].type", "input_text"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type", "tools that this server does not have"),
        ({"input": [OUTPUT]}, "input", "No tool call found"),
        ({"input": [CALL]}, "input", "No tool output found"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input", "reads files"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input", "image_url"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "run it yourself"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type", "run it yourself"),
        ({"tool_choice": "required"}, "tool_choice", "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice", "not among"),
        ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, "tool_choice", "expected"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name", "Two tools"),
        (
            {"tools": [{**TOOL, "strict": True, "parameters": {"type": "object", "patternProperties": {}}}]},
            "tools[0].parameters",
            "not enforced",
        ),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema", "Missing"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "verbosity"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", "'reasoning.effort'"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary", "not summarised"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context", "never goes back"),
        ({"max_tool_calls": 3}, "max_tool_calls", "tools that OpenAI runs"),
        ({"prompt": {"id": "p"}}, "prompt", "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens", "minimum"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "stream"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", "padded"),
        ({"max_tokens": 3}, "max_tokens", "Unknown"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_own_name(fields, param, says):
    error = refusal(**fields)
    assert error.param == param
    assert says in error.message


def test_images_are_for_models_that_see():
    blind = Target("m", "chat", 4096, 2, 1000, 512, frozenset({"chat"}))
    error = refusal(target=blind, input=[{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}])
    assert (error.param, error.code) == ("input", "unsupported_content")


_text = st.text(max_size=8)
_parts = st.lists(st.builds(lambda text: {"type": "input_text", "text": text}, _text), max_size=2)
_said = st.lists(
    st.builds(lambda text: {"type": "output_text", "text": text}, _text)
    | st.builds(lambda text: {"type": "refusal", "refusal": text}, _text),
    max_size=2,
)
_items = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "system", "developer"]),
        _text | _parts,
    )
    | st.builds(lambda content: {"type": "message", "role": "assistant", "content": content}, _text | _said)
    | st.builds(lambda text: {"type": "reasoning", "content": [{"type": "reasoning_text", "text": text}]}, _text)
    | st.just(CALL)
    | st.builds(lambda output: {**OUTPUT, "output": output}, _text | _parts),
    min_size=1,
    max_size=6,
)


@given(_items)
@settings(max_examples=200, deadline=None)
def test_what_was_stored_is_read_as_it_was_when_it_was_sent(items):
    request = parse(ResponsesRequest, json.dumps({"model": "m", "input": items}).encode()).value
    own = own_items(request)
    records = [record(item) for item in own]
    assert all(item["id"] and item["status"] for item in records)
    stored = known(json.loads(json.dumps(records)))
    assert [record(item) for item in stored] == records

    def asked(context: Any) -> Any:
        try:
            return json.loads(plan_of(request, context, TARGET, "resp_1", 1).bodies[0])
        except InvalidRequest as error:
            return error.message

    assert asked(stored) == asked(own)


def test_what_was_answered_can_be_read_again():
    pieces = [
        {"reasoning_content": "Hm"},
        {"content": "So"},
        {"tool_calls": [{"index": 0, "function": {"name": "get", "arguments": "{"}}]},
    ]
    answered = output(streamed(joiner(), *map(chunk, pieces), *end("length")))
    assert [record(item) for item in known(answered)] == answered
    with pytest.raises(InvalidRequest, match="stored item"):
        known([{"type": "web_search_call"}])


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*ResponsesRequest.model_fields, "other"]), _json, max_size=4))
@settings(max_examples=300, deadline=None)
def test_whatever_stands_in_a_field_gives_a_plan_or_a_400(fields):
    try:
        for body in plan(**fields).bodies:
            json.loads(body)
    except InvalidRequest as error:
        assert error.status == 400
