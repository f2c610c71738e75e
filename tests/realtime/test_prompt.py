"""How a conversation becomes a prompt, and what is left out of one that is too long."""

from __future__ import annotations

import pytest

from freehold.errors import ContextLengthExceeded
from freehold.protocol.realtime.config import Retention, Truncation
from freehold.protocol.realtime.effects import Order
from freehold.protocol.realtime.items import Content, Item, Spoken
from freehold.protocol.realtime.prompt import fewer, groups, kept, messages


def said(role: str, *texts: str | None, kind: str = "input_text") -> Item:
    return Item("i", "message", role=role, content=[Content(kind, text) for text in texts])


def order(truncation: Truncation, *sizes: int) -> Order:
    turns = [[{"role": "user", "content": "x" * size}] for size in sizes]
    return Order("r", "Be kind.", turns, {}, truncation, None, 1.0, "audio/pcm")


def test_what_nobody_said_is_left_out_and_calls_stand_with_their_answers() -> None:
    items = [
        said("user", "Hello.", None, kind="input_audio"),
        said("user", None, kind="input_audio"),
        Item("c1", "function_call", call_id="a", name="f", text="{}"),
        said("user", "Wait."),
        Item("c2", "function_call", call_id="b", name="g", text="{}"),
        Item("o1", "function_call_output", call_id="a", text="done"),
        Item("p", "message", role="user", content=[Content("input_image", image_url="data:image/png;base64,AA")]),
    ]
    made = groups(items)
    assert [[message["role"] for message in group] for group in made] == [["user"], ["assistant", "tool"], ["user"], ["user"]]
    assert made[1][1]["content"] == "done"
    assert made[3][0]["content"][0]["image_url"]["url"].startswith("data:")


def test_the_newest_turns_are_kept_and_the_last_one_always() -> None:
    assert len(kept(order("auto", 30, 30, 30), 1000)) == 3
    assert len(kept(order("auto", 3000, 30, 30), 100)) == 2
    assert len(kept(order("auto", 30, 30, 3000), 100)) == 1
    assert kept(order("auto"), 1) == []


def test_nothing_is_left_out_where_it_must_not_be() -> None:
    assert len(kept(order("disabled", 30), 1000)) == 1
    with pytest.raises(ContextLengthExceeded):
        kept(order("disabled", 3000), 100)


def test_a_retention_ratio_leaves_room_for_further_turns() -> None:
    ratio = Retention(type="retention_ratio", retention_ratio=0.5)
    sizes = [270] * 11  # about 98 tokens each
    assert len(kept(order("auto", *sizes), 1000)) == 10
    assert len(kept(order(ratio, *sizes), 1000)) == 5
    assert len(kept(order(ratio, *sizes[:8]), 1000)) == 8


def test_a_prompt_that_was_too_long_is_halved() -> None:
    turns = order("auto", 1, 2, 3).groups
    assert fewer(turns) == turns[2:]
    assert messages(order("auto"), turns)[0] == {"role": "system", "content": "Be kind."}


def test_words_are_found_by_the_time_they_are_spoken() -> None:
    spoken = Spoken(48, [(0, "One two. "), (48_000, "Three four five.")], 96_000, whole=True)
    assert spoken.milliseconds == 2000
    assert spoken.until(0) == ""
    assert spoken.until(1000) == "One two."
    assert spoken.until(1500) == "One two. Three"
    assert spoken.until(9999) == "One two. Three four five."
    begun = Spoken(48, [(0, "A sentence whose sound has only begun to be made.")], 24_000)
    assert begun.until(500) == "A"
