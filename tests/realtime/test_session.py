"""The session as a machine: which events follow from which, and what is asked of the world."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from freehold.errors import EngineTimeout, FreeholdError, InvalidRequest
from freehold.protocol.realtime.effects import Begin, Call, EndTurn, Finished, Forget, Hear, Listen, Sentence, Sound, Stop, Text
from freehold.protocol.realtime.events import Misunderstood, understood
from freehold.protocol.values import Usage
from tests.realtime.parts import Table

SECOND = bytes(48_000)
USAGE = Usage(20, 5, 4)


def append(table: Table, audio: bytes = SECOND) -> list[Any]:
    return table.says("input_audio_buffer.append", audio=base64.b64encode(audio).decode())


def answered(table: Table, order: Any, text: str = "Hello there.", seconds: int = 1) -> None:
    """A response is written and spoken to its end."""
    for told in (Text(text), Sentence(text), *[Sound(SECOND)] * seconds, Finished("stop", USAGE)):
        table.take(table.session.progress(order.response, told))


# --- the session itself


def test_a_session_begins_with_its_settings_and_listens() -> None:
    table = Table()
    (listen,) = table.take(table.session.opened())
    assert isinstance(listen, Listen)
    assert listen.settings == {
        "rate": 24000,
        "format": "pcm16",
        "language": None,
        "turn_detection": {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500},
        "deltas": False,
    }
    (created,) = table.sent
    assert created["type"] == "session.created"
    assert created["session"]["model"] == "gpt-realtime"
    assert created["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    table = Table()
    table.take(table.session.opened())
    assert not table.says("session.update", session={"type": "realtime", "instructions": "Be brief."})
    (listen,) = table.says(
        "session.update",
        session={
            "type": "realtime",
            "audio": {"input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "whisper-1", "language": "en"}}},
        },
    )
    assert (listen.settings["format"], listen.settings["rate"], listen.settings["language"]) == ("g711_ulaw", 8000, "en")
    assert listen.model == "whisper-1"
    session = table.last("session.updated")["session"]
    assert session["instructions"] == "Be brief."
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
    (listen,) = table.says("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    assert listen.settings["turn_detection"] is None
    assert listen.settings["format"] == "g711_ulaw"
    table.says("session.update", session={"type": "realtime", "audio": {"input": {"transcription": None}}})
    assert table.last("session.updated")["session"]["audio"]["input"]["transcription"] is None


def test_semantic_turns_are_the_same_detector_with_another_patience() -> None:
    table = Table()
    for eagerness, silence in (("low", 1200), ("auto", 600), ("high", 300)):
        turns = {"type": "semantic_vad", "eagerness": eagerness}
        (listen,) = table.says("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": turns}}})
        assert listen.settings["turn_detection"]["silence_duration_ms"] == silence
        shown = table.last("session.updated")["session"]["audio"]["input"]["turn_detection"]
        assert shown == {**turns, "create_response": True, "interrupt_response": True}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({}, "session.type"),
        ({"type": "robot"}, "session.type"),
        ({"type": "transcription"}, "session.type"),
        ({"type": "realtime", "model": "another"}, "session.model"),
        ({"type": "realtime", "modalities": ["text"]}, "session.modalities"),
        ({"type": "realtime", "output_modalities": ["text", "audio"]}, "session.output_modalities"),
        ({"type": "realtime", "output_modalities": []}, "session.output_modalities"),
        ({"type": "realtime", "instructions": 5}, "session.instructions"),
        ({"type": "realtime", "max_output_tokens": 0}, "session.max_output_tokens"),
        ({"type": "realtime", "prompt": {"id": "p"}}, "session.prompt"),
        ({"type": "realtime", "include": ["item.input_audio_transcription.logprobs"]}, "session.include"),
        ({"type": "realtime", "tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools[0].type"),
        ({"type": "realtime", "tool_choice": {"type": "function", "name": "nope"}}, "session.tool_choice"),
        ({"type": "realtime", "audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
        ({"type": "realtime", "audio": {"input": {"format": {"type": "audio/opus"}}}}, "session.audio.input.format.type"),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}},
            "session.audio.input.format.rate",
        ),
        (
            {"type": "realtime", "audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
            "session.audio.input.noise_reduction",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}}},
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "eagerness": "low"}}}},
            "session.audio.input.turn_detection.eagerness",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"type": "realtime", "audio": {"input": {"transcription": {"prompt": "names"}}}},
            "session.audio.input.transcription.prompt",
        ),
    ],
)
def test_what_a_session_cannot_be_set_to_is_refused_and_changes_nothing(session: dict[str, Any], param: str) -> None:
    table = Table()
    before = table.session.settings
    with pytest.raises((InvalidRequest, Misunderstood)) as refused:
        table.says("session.update", session=session, event_id="mine")
    error = refused.value.error if isinstance(refused.value, Misunderstood) else refused.value
    assert error.param is not None
    assert error.param.startswith(param)
    assert table.session.settings is before


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ("garbage", None, "invalid_json"),
        ("[1]", None, "invalid_event"),
        (b"\x00", None, "invalid_event"),
        ("{}", "type", "missing_required_parameter"),
        ('{"type": 5}', "type", "missing_required_parameter"),
        ('{"type": "response.explode"}', "type", "invalid_value"),
        ('{"type": "output_audio_buffer.clear"}', "type", "unsupported_event"),
        ('{"type": "input_audio_buffer.append"}', "audio", "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "audio", "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "", "x": 1}', "x", "unknown_parameter"),
        ('{"type": "input_audio_buffer.commit", "x": 1}', "x", "unknown_parameter"),
        ('{"type": "conversation.item.create", "item": {"type": "message", "role": "robot"}}', "item.role", "invalid_value"),
        ('{"type": "response.create", "response": {"prompt": {"id": "x"}}}', "response.prompt", "unsupported_parameter"),
        ("[" * 100_000, None, "invalid_json"),
    ],
)
def test_what_is_no_event_is_refused_in_openais_words(message: str | bytes, param: str | None, code: str) -> None:
    with pytest.raises(Misunderstood) as refused:
        understood(message)
    assert refused.value.error.code == code
    assert (refused.value.error.param or "").startswith(param or "")


def test_an_event_that_is_refused_is_named_by_its_own_id() -> None:
    with pytest.raises(Misunderstood) as refused:
        understood('{"type": "conversation.item.delete", "event_id": "mine"}')
    assert refused.value.event_id == "mine"
    told = Table().session.error(refused.value.error, "mine").event["error"]
    assert (told["event_id"], told["param"]) == ("mine", "item_id")


# --- turns that are spoken


def test_a_spoken_turn_becomes_an_item_and_is_answered_in_the_order_of_openais_guide() -> None:
    table = Table(audio={"input": {"transcription": {"model": "whisper-1"}}})
    assert [type(effect) for effect in append(table)] == [Hear]
    (begin,) = table.turn("What is the capital of France?", 120, 2000)
    assert table.kinds() == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
    ]
    assert isinstance(begin, Begin)
    assert begin.order.groups == [[{"role": "user", "content": "What is the capital of France?"}]]
    assert begin.order.voice == "alloy"
    answered(table, begin.order, "Paris.", 2)
    done = table.sent[-1]["response"]
    assert table.kinds() == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert done["status"] == "completed"
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Paris."}]
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"], done["usage"]["total_tokens"]) == (20, 5, 25)
    assert done["usage"]["input_token_details"]["cached_tokens"] == 4
    (begin,) = table.turn("And of Spain?")
    assert [message["content"] for group in begin.order.groups for message in group] == [
        "What is the capital of France?",
        "Paris.",
        "And of Spain?",
    ]


def test_without_transcription_its_events_are_not_sent_but_the_words_are_known() -> None:
    table = Table()
    table.turn("Hello.")
    assert not [kind for kind in table.kinds() if "transcription" in kind]
    table.says("conversation.item.retrieve", item_id="item_1")
    assert table.sent[-1]["item"]["content"][0]["transcript"] == "Hello."


def test_a_noise_is_not_answered() -> None:
    table = Table()
    assert not table.turn(" ")
    assert "response.created" not in table.kinds()


def test_turns_that_are_not_to_be_answered_are_not() -> None:
    table = Table(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    assert not table.turn("Hello.")
    (begin,) = table.says("response.create")
    assert begin.order.groups


def test_who_goes_on_speaking_gets_one_answer_to_all_of_it() -> None:
    table = Table()
    table.hears("speech_started", audio_start_ms=0)
    table.hears("speech_stopped", audio_end_ms=500)
    table.hears("speech_started", audio_start_ms=900)
    assert not table.hears("completed", text="Tell me", seconds=0.5)
    table.hears("speech_stopped", audio_end_ms=2000)
    (begin,) = table.hears("completed", text="a story.", seconds=1)
    assert [group[0]["content"] for group in begin.order.groups] == ["Tell me", "a story."]


def test_speech_interrupts_a_response_and_what_was_not_sent_was_not_said() -> None:
    table = Table()
    (begin,) = table.turn("Tell me a story.")
    response = begin.order.response
    for told in (Text("Once upon a time. There was a king. He had "), Sentence("Once upon a time. "), Sound(SECOND)):
        table.take(table.session.progress(response, told))
    table.take(table.session.progress(response, Sentence("There was a king. ")))
    table.kinds()
    (stop,) = table.hears("speech_started", audio_start_ms=5000)
    assert isinstance(stop, Stop)
    done = table.sent[-1]["response"]
    assert table.kinds() == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    assert done["output"][0]["content"][0]["transcript"] == "Once upon a time."
    assert not table.take(table.session.progress(response, Text("late")))
    assert not table.sent


def test_speech_does_not_interrupt_where_it_is_not_to() -> None:
    table = Table(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    (begin,) = table.turn("Tell me a story.")
    assert not table.turn("Stop!")
    assert table.session.response is not None
    answered(table, begin.order)
    assert table.kinds()[-1] == "response.created"  # what was said meanwhile is answered then


def test_a_noise_that_interrupted_an_answer_before_it_began_leaves_the_answer_owed() -> None:
    table = Table()
    table.turn("Hello.")
    table.hears("speech_started", audio_start_ms=2000)
    table.hears("speech_stopped", audio_end_ms=2100)
    (begin,) = table.hears("completed", text="", seconds=0.1)
    assert isinstance(begin, Begin)


# --- turns by hand


def test_turns_by_hand_end_with_a_commit_and_are_answered_when_asked() -> None:
    table = Table(audio={"input": {"turn_detection": None}})
    with pytest.raises(InvalidRequest) as empty:
        table.says("input_audio_buffer.commit")
    assert empty.value.code == "input_audio_buffer_commit_empty"
    append(table)
    assert [type(effect) for effect in table.says("input_audio_buffer.commit")] == [EndTurn]
    assert not table.says("response.create")  # it waits for the words
    assert table.kinds()[-1] == "response.created"
    (begin,) = table.hears("completed", text="Hello.", seconds=1)
    assert begin.order.groups == [[{"role": "user", "content": "Hello."}]]


def test_the_recogniser_does_not_change_in_the_middle_of_its_work() -> None:
    table = Table()
    table.hears("speech_started", audio_start_ms=0)
    table.hears("speech_stopped", audio_end_ms=500)
    other = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    with pytest.raises(InvalidRequest):
        table.says("session.update", session=other)
    table.hears("completed", text="", seconds=0.5)
    assert [type(effect) for effect in table.says("session.update", session=other)] == [Listen]


def test_a_cleared_buffer_is_empty() -> None:
    table = Table(audio={"input": {"turn_detection": None}})
    append(table)
    assert [type(effect) for effect in table.says("input_audio_buffer.clear")] == [Forget]
    assert table.kinds() == ["input_audio_buffer.cleared"]
    with pytest.raises(InvalidRequest):
        table.says("input_audio_buffer.commit")


def test_audio_that_nobody_commits_has_an_end() -> None:
    table = Table(audio={"input": {"turn_detection": None}})
    for _ in range(900):
        append(table)
    with pytest.raises(InvalidRequest) as full:
        append(table)
    assert full.value.code == "input_audio_buffer_full"


def test_a_recogniser_that_fails_fails_what_waits_for_it() -> None:
    table = Table(audio={"input": {"turn_detection": None, "transcription": {}}})
    append(table)
    table.says("input_audio_buffer.commit")
    table.says("response.create")
    table.take(table.session.deaf(EngineTimeout("Too late.")))
    done = table.sent[-1]["response"]
    assert table.kinds()[-3:] == ["error", "conversation.item.input_audio_transcription.failed", "response.done"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["message"] == "Too late."
    assert table.session.response is None


# --- responses


def test_a_written_answer_has_text_and_no_audio() -> None:
    table = Table(output_modalities=["text"])
    (begin,) = table.turn("Hello.")
    assert begin.order.voice is None
    table.kinds()
    for told in (Text("Hi"), Text("!"), Finished("stop", USAGE)):
        table.take(table.session.progress(begin.order.response, told))
    assert table.last("response.output_text.done")["text"] == "Hi!"
    assert table.kinds() == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]


def test_a_function_is_called_and_its_output_answered() -> None:
    tool = {"type": "function", "name": "weather", "description": "tells", "parameters": {"type": "object", "properties": {}}}
    table = Table(tools=[tool], tool_choice="auto")
    (begin,) = table.turn("What is the weather?")
    assert begin.order.fields["tools"][0]["function"]["name"] == "weather"
    table.kinds()
    for told in (Call(0, "call_x", "weather", ""), Call(0, None, None, '{"city":'), Call(0, None, None, '"Rome"}')):
        table.take(table.session.progress(begin.order.response, told))
    table.take(table.session.progress(begin.order.response, Finished("tool_calls", USAGE)))
    assert table.last("response.function_call_arguments.done")["arguments"] == '{"city":"Rome"}'
    assert table.last("response.done")["response"]["output"][0]["name"] == "weather"
    assert table.kinds() == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    output = {"type": "function_call_output", "call_id": "call_x", "output": "sunny"}
    table.says("conversation.item.create", item=output)
    (begin,) = table.says("response.create")
    assert begin.order.groups[-1] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_x", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_x", "content": "sunny"},
    ]
    with pytest.raises(InvalidRequest) as unknown:
        table.says("conversation.item.create", item={**output, "call_id": "call_y"})
    assert unknown.value.param == "item.call_id"


def test_a_response_may_be_different_from_the_session_and_outside_of_its_conversation() -> None:
    table = Table()
    table.turn("Hello.")
    table.says("response.cancel")
    table.kinds()
    given = {
        "conversation": "none",
        "output_modalities": ["text"],
        "instructions": "Classify.",
        "metadata": {"topic": "x"},
        "max_output_tokens": 7,
        "input": [
            {"type": "item_reference", "id": "item_1"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "More."}]},
        ],
    }
    (begin,) = table.says("response.create", response=given)
    assert begin.order.instructions == "Classify."
    assert begin.order.fields["max_completion_tokens"] == 7
    assert [group[0]["content"] for group in begin.order.groups] == ["Hello.", "More."]
    for told in (Text("Greeting"), Finished("length", USAGE)):
        table.take(table.session.progress(begin.order.response, told))
    done = table.last("response.done")["response"]
    assert (done["conversation_id"], done["metadata"], done["status"]) == (None, {"topic": "x"}, "incomplete")
    assert done["status_details"]["reason"] == "max_output_tokens"
    assert not [kind for kind in table.kinds() if kind.startswith("conversation.")]
    with pytest.raises(InvalidRequest):
        table.says("response.create", response={"input": [{"type": "item_reference", "id": "nope"}]})
    assert table.session.response is None


def test_there_is_one_response_at_a_time_and_it_can_be_cancelled() -> None:
    table = Table()
    with pytest.raises(InvalidRequest) as none:
        table.says("response.cancel")
    assert none.value.code == "response_cancel_not_active"
    table.says("response.create")
    with pytest.raises(InvalidRequest) as second:
        table.says("response.create")
    assert second.value.code == "conversation_already_has_active_response"
    with pytest.raises(InvalidRequest):
        table.says("response.cancel", response_id="resp_other")
    assert [type(effect) for effect in table.says("response.cancel", response_id="resp_1")] == [Stop]
    assert table.last("response.done")["response"]["status_details"]["reason"] == "client_cancelled"


def test_a_response_that_cannot_be_made_says_why() -> None:
    table = Table()
    (begin,) = table.says("response.create")
    table.take(table.session.failed(begin.order.response, EngineTimeout("Too slow.")))
    error = table.last("response.done")["response"]["status_details"]["error"]
    assert error == {"type": "server_error", "code": "engine_timeout", "message": "Too slow."}
    table.says("response.create")


def test_settings_that_no_model_serves_are_refused_wherever_they_come_from() -> None:
    def check(settings: Any) -> None:
        if settings.audio.output.voice == "nobody":
            raise InvalidRequest("There is no such voice.", param="voice")

    table = Table(check)
    with pytest.raises(InvalidRequest):
        table.says("session.update", session={"type": "realtime", "audio": {"output": {"voice": "nobody"}}})
    with pytest.raises(InvalidRequest):
        table.says("response.create", response={"audio": {"output": {"voice": "nobody"}}})
    assert table.session.response is None


def test_models_that_are_gone_meanwhile_are_an_error_and_no_end() -> None:
    broken = []

    def check(settings: Any) -> None:
        if broken:
            raise FreeholdError("The voice is gone.")

    table = Table(check)
    broken.append(True)
    assert not table.turn("Hello.")
    assert table.kinds()[-1] == "error"
    assert table.session.response is None


# --- items


def message(text: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **fields}


def test_items_are_put_where_they_belong_read_and_deleted() -> None:
    table = Table()
    table.says("conversation.item.create", item=message("b", id="b"))
    table.says("conversation.item.create", item=message("a", "system", id="a"), previous_item_id="root")
    table.says("conversation.item.create", item=message("c", "assistant", id="c"), previous_item_id="b")
    table.says("conversation.item.create", item=message("x", id="x"), previous_item_id="a")
    assert [item.id for item in table.session.conversation] == ["a", "x", "b", "c"]
    assert table.last("conversation.item.added")["previous_item_id"] == "a"
    table.says("conversation.item.delete", item_id="x")
    assert table.sent[-1] == {"type": "conversation.item.deleted", "event_id": table.sent[-1]["event_id"], "item_id": "x"}
    for kind in ("conversation.item.delete", "conversation.item.retrieve"):
        with pytest.raises(InvalidRequest) as unknown:
            table.says(kind, item_id="x")
        assert unknown.value.code == "item_not_found"
    with pytest.raises(InvalidRequest):
        table.says("conversation.item.create", item=message("again", id="a"))
    with pytest.raises(InvalidRequest):
        table.says("conversation.item.create", item=message("y"), previous_item_id="nope")
    assert [item.id for item in table.session.conversation] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]}, "item.content[0].type"),
        ({"type": "message", "role": "user", "content": [{"type": "input_text"}]}, "item.content[0].text"),
        ({"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "?"}]}, "item.content[0].audio"),
        ({"type": "message", "role": "user", "content": [{"type": "input_audio"}]}, "item.content[0].transcript"),
        ({"type": "message", "role": "user", "content": "hello"}, "item.content"),
        ({"type": "mcp_call", "id": "x"}, "item.type"),
        ({"type": "message", "role": "user", "content": [], "id": "../x y"}, "item.id"),
        ({"type": "function_call", "name": "f", "arguments": {}}, "item.arguments"),
    ],
)
def test_items_that_cannot_be_taken_are_refused_with_their_place(item: dict[str, Any], param: str) -> None:
    with pytest.raises(Misunderstood) as refused:
        understood(json.dumps({"type": "conversation.item.create", "item": item}))
    assert refused.value.error.param == param


def test_a_recording_within_an_item_is_recognised_before_it_is_answered() -> None:
    table = Table(audio={"input": {"transcription": {"model": "whisper-1"}}})
    audio = {"type": "input_audio", "audio": base64.b64encode(SECOND).decode()}
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Listen:"}, audio], "id": "mine"}
    (wanted,) = table.says("conversation.item.create", item=item)
    assert (wanted.item_id, wanted.place, wanted.audio, wanted.model) == ("mine", 1, SECOND, "whisper-1")
    assert not table.says("response.create")
    (begin,) = table.take(table.session.recognised("mine", 1, "Hello.", 1.0))
    assert table.last("conversation.item.input_audio_transcription.completed")["content_index"] == 1
    assert begin.order.groups == [[{"role": "user", "content": "Listen:\nHello."}]]
    table.says("response.cancel")
    table.says("conversation.item.create", item={**item, "id": "other"})
    table.says("response.create")
    assert not table.take(table.session.unrecognised("other", 1, EngineTimeout("Too late.")))
    assert table.kinds()[-2:] == ["conversation.item.input_audio_transcription.failed", "response.done"]
    with pytest.raises(InvalidRequest):
        table.says("response.create", response={"input": [item]})
    with pytest.raises(InvalidRequest) as many:
        for number in range(5):
            table.says("conversation.item.create", item={**item, "id": f"item{number}"})
    assert many.value.code == "rate_limited"


def test_a_conversation_has_a_size_and_a_number_of_items() -> None:
    table = Table()
    with pytest.raises(InvalidRequest) as full:
        for _ in range(100):
            table.says("conversation.item.create", item=message("x" * 190_000))
    assert full.value.code == "conversation_full"
    table = Table()
    for number in range(1001):
        table.says("conversation.item.create", item=message(f"{number}", id=f"item{number}"))
    assert len(list(table.session.conversation)) == 1000
    assert table.last("conversation.item.deleted")["item_id"] == "item0"


def test_a_truncated_item_holds_only_the_words_that_were_heard() -> None:
    table = Table()
    (begin,) = table.turn("Count.")
    response = begin.order.response
    for sentence in ("One two three four. ", "Five six seven eight."):
        for told in (Text(sentence), Sentence(sentence), Sound(SECOND), Sound(SECOND)):
            table.take(table.session.progress(response, told))
    item_id = table.last("response.output_audio.delta")["item_id"]
    with pytest.raises(InvalidRequest) as early:
        table.says("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=10)
    assert early.value.code == "item_in_progress"
    table.take(table.session.progress(response, Finished("stop", USAGE)))
    with pytest.raises(InvalidRequest) as long:
        table.says("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=4001)
    assert long.value.param == "audio_end_ms"
    table.says("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=3000)
    assert table.sent[-1]["audio_end_ms"] == 3000
    table.says("conversation.item.retrieve", item_id=item_id)
    assert table.sent[-1]["item"]["content"][0]["transcript"] == "One two three four. Five six"
    table.says("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
    table.says("conversation.item.retrieve", item_id=item_id)
    assert table.sent[-1]["item"]["content"][0]["transcript"] == ""
    with pytest.raises(InvalidRequest):
        table.says("conversation.item.truncate", item_id="item_1", content_index=0, audio_end_ms=0)


# --- sessions that only transcribe


def test_a_transcription_session_tells_the_words_and_answers_nothing() -> None:
    table = Table()
    table.session.settings = table.session.settings.model_validate({"type": "transcription"})
    table.take(table.session.opened())
    assert table.sent[0]["session"]["type"] == "transcription"
    table.kinds()
    table.hears("speech_started", audio_start_ms=0)
    table.hears("delta", text="Hel")
    table.hears("speech_stopped", audio_end_ms=500)
    assert not table.hears("completed", text="Hello.", seconds=0.5)
    completed = table.sent[-1]
    assert (completed["transcript"], completed["usage"]) == ("Hello.", {"type": "duration", "seconds": 0.5})
    assert table.kinds() == [
        "input_audio_buffer.speech_started",
        "conversation.item.input_audio_transcription.delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
    ]
    with pytest.raises(InvalidRequest):
        table.says("response.create")
    with pytest.raises(Misunderstood):
        table.says("session.update", session={"type": "transcription", "instructions": "x"})
