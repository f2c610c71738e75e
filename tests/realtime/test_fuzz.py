"""Whatever comes in, in whatever order: a session answers with events that the SDK knows, or refuses; it never breaks."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.errors import EngineTimeout, FreeholdError
from freehold.protocol.realtime import beta
from freehold.protocol.realtime.effects import Begin, Call, Finished, Sentence, Sound, Text
from freehold.protocol.realtime.events import Misunderstood, understood
from freehold.protocol.values import Usage
from tests.realtime.parts import Table

IDS = st.sampled_from(["root", "item_1", "item_2", "item_3", "mine", "resp_1", "call_1", ""])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))
PARTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["input_text", "input_audio", "output_text", "input_image"])},
        optional={"text": st.text(max_size=9), "transcript": st.text(max_size=9), "image_url": st.just("data:x")},
    ),
    max_size=3,
)
ITEMS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("message"), "role": st.sampled_from(["user", "system", "assistant"]), "content": PARTS},
        optional={"id": IDS},
    ),
    st.fixed_dictionaries({"type": st.just("function_call"), "name": st.just("f"), "arguments": st.just("{}"), "call_id": IDS}),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": IDS, "output": st.text(max_size=5)}),
    JSON,
)
TURNS = st.sampled_from([None, {"type": "server_vad", "interrupt_response": False}, {"type": "semantic_vad"}])
BARE = ["input_audio_buffer.commit", "input_audio_buffer.clear", "response.create"]
EVENTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("input_audio_buffer.append"), "audio": st.sampled_from(["A" * 9600, "?"])}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["input_audio_buffer.commit", "input_audio_buffer.clear", "response.create"])}
    ),
    st.fixed_dictionaries({"type": st.just("response.cancel")}, optional={"response_id": IDS}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["conversation.item.delete", "conversation.item.retrieve"]), "item_id": IDS}
    ),
    st.fixed_dictionaries(
        {"type": st.just("conversation.item.truncate"), "item_id": IDS, "content_index": st.integers(0, 1)}
        | {"audio_end_ms": st.integers(-1, 3000)}
    ),
    st.fixed_dictionaries({"type": st.just("conversation.item.create"), "item": ITEMS}, optional={"previous_item_id": IDS}),
    st.builds(
        lambda turns: {
            "type": "session.update",
            "session": {"type": "realtime", "audio": {"input": {"turn_detection": turns, "transcription": {}}}},
        },
        TURNS,
    ),
    st.builds(
        lambda given: {"type": "response.create", "response": given},
        st.fixed_dictionaries(
            {}, optional={"conversation": st.just("none"), "input": st.lists(ITEMS, max_size=2), "instructions": JSON}
        ),
    ),
    JSON,
)
HEARD = st.one_of(
    st.builds(lambda at: {"type": "speech_started", "audio_start_ms": at}, st.integers(0, 9000)),
    st.builds(lambda at: {"type": "speech_stopped", "audio_end_ms": at}, st.integers(0, 9000)),
    st.builds(lambda text: {"type": "completed", "text": text, "seconds": 1.0}, st.sampled_from(["", "Hello."])),
    st.just({"type": "delta", "text": "Hel"}),
    st.just({"type": "session.updated"}),
)
MADE = st.one_of(
    st.builds(Text, st.text(max_size=9)),
    st.builds(Sentence, st.text(max_size=9)),
    st.builds(Sound, st.just(bytes(4800))),
    st.builds(Call, st.integers(0, 1), st.none(), st.just("f"), st.just("{}")),
    st.builds(Finished, st.sampled_from(["stop", "length", "tool_calls"]), st.just(Usage(3, 2))),
    st.just(EngineTimeout("Too late.")),
)
STEPS = st.lists(
    st.one_of(EVENTS.map(lambda e: ("says", e)), HEARD.map(lambda e: ("hears", e)), MADE.map(lambda e: ("made", e)))
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_order_of_events_breaks_a_session(steps: list[tuple[str, Any]]) -> None:
    table = Table()
    making = ""
    for kind, value in steps:
        others: list[Any] = []
        if kind == "says":
            with contextlib.suppress(FreeholdError, Misunderstood):
                others = table.take(table.session.received(understood(json.dumps(value))))
        elif kind == "hears":
            others = table.take(table.session.heard(value))
        elif isinstance(value, FreeholdError):
            others = table.take(table.session.failed(making, value))
            others += table.take(table.session.deaf(value))
        else:
            others = table.take(table.session.progress(making, value))
        making = next((effect.order.response for effect in others if isinstance(effect, Begin)), making)
    created = [event["response"]["id"] for event in table.sent if event["type"] == "response.created"]
    done = [event["response"]["id"] for event in table.sent if event["type"] == "response.done"]
    assert done == created[: len(done)]
    assert len(created) - len(done) == (1 if table.session.response else 0)


@settings(max_examples=100, deadline=None)
@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_no_message_is_more_than_refused(message: str | bytes) -> None:
    try:
        understood(message)
    except Misunderstood as refused:
        assert refused.error.message


BETA = st.dictionaries(
    st.sampled_from(["voice", "audio", "modalities", "input_audio_format", "turn_detection", "speed", "type"]), JSON
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["session.update", "response.create", "other"]), BETA | JSON, st.text())
def test_no_message_of_the_beta_is_more_than_refused(kind: str, value: Any, garbage: str) -> None:
    for message in (json.dumps({"type": kind, "session": value, "response": value}), garbage, json.dumps(value)):
        with contextlib.suppress(FreeholdError, Misunderstood):
            understood(beta.released(message))
