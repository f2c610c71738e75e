"""Filling in by a model that only chats: how it is asked, and what of its answer belongs in the gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import EngineBadResponse
from freehold.protocol.fim.chat import Begun, question
from freehold.protocol.fim.fill import Extra, Fill

TEXT = st.text(alphabet="ab `\n<GAP>2 \t", max_size=60)


def templated(message: str) -> str:
    return f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n"


def spelt(fill: Fill, close: str = "") -> str:
    """What the model reads, its marks and the user's texts together."""
    asked = question(fill)
    before, gap, answer = asked.marks(templated(asked.message) + close)
    return before + fill.prefix + gap + fill.suffix + answer + asked.line


def test_the_answer_is_begun_with_the_line_before_the_gap() -> None:
    read = spelt(Fill("def add(a, b):\n    ", "\n\nprint(add(1, 2))\n"))
    order, _, rest = read.partition("\n\n")
    assert order.startswith("<|im_start|>user\nBelow is a text with a gap, marked <GAP>.")
    assert rest == (
        "```\ndef add(a, b):\n    <GAP>\n\nprint(add(1, 2))\n\n```<|im_end|>\n<|im_start|>assistant\n```\ndef add(a, b):"
    )


@pytest.mark.parametrize(
    ("prefix", "line", "blanks"),
    [
        ("a\nreturn ", "return", " "),
        ("a\nret", "ret", ""),
        ("a:\n    ", "a:", "\n    "),
        ("", "", ""),
        (" \n ", "", " \n "),
        ("x" * 1000, "x" * 200, ""),
    ],
)
def test_blanks_before_the_gap_are_the_models_to_write(prefix: str, line: str, blanks: str) -> None:
    asked = question(Fill(prefix, ""))
    assert (asked.line, asked.blanks) == (line, blanks)


@given(TEXT, TEXT, TEXT)
def test_neither_the_block_nor_the_gap_is_ended_by_a_users_text(prefix: str, suffix: str, other: str) -> None:
    fill = Fill(prefix, suffix, extras=(Extra("a.md", other),))
    asked = question(fill)
    fence, gap = asked.opening.strip(), asked.message.partition("marked ")[2].partition(". Write")[0]
    for text in (prefix, suffix, other):
        assert fence not in text
        assert gap not in text
    assert set(asked.stops) == {fence, f"\n{fence}"}


@given(st.text(alphabet=" \n\tx", max_size=6), st.text(alphabet=" \n\txy", max_size=12), st.integers(1, 4))
def test_only_the_blanks_that_stand_there_are_taken_off_however_an_answer_comes(blanks: str, answer: str, step: int) -> None:
    blanks = blanks.replace("x", "")
    begun, once = Begun(blanks), Begun(blanks)
    got = "".join(begun.feed(answer[at : at + step]) for at in range(0, len(answer), step))
    assert got == once.feed(answer)
    assert answer.endswith(got)
    assert blanks.startswith(answer[: len(answer) - len(got)])
    assert not answer.startswith(blanks) or got == answer[len(blanks) :]


def test_a_template_that_makes_its_model_think_has_the_thought_closed() -> None:
    assert spelt(Fill("a", "b"), "<think>\n").endswith("<think>\n\n</think>\n\n```\na")
    assert spelt(Fill("a", "b"), "<think>\n\n</think>\n\n").endswith("<think>\n\n</think>\n\n```\na")


def test_a_template_that_loses_the_question_is_no_good() -> None:
    asked = question(Fill("a", "b"))
    for prompt in ("", templated(asked.message) * 2, asked.message.partition("<GAP>⁂")[0]):
        with pytest.raises(EngineBadResponse):
            asked.marks(prompt)
