"""An answer's end that is the suffix's beginning is taken off, however it comes in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.protocol.fim.overlap import Overlap


def shown(suffix: str, *pieces: str) -> str:
    overlap = Overlap(suffix)
    return "".join([*(overlap.feed(piece) for piece in pieces), overlap.end()])


@pytest.mark.parametrize(
    ("answer", "suffix", "left"),
    [
        ("a + b\n    return total\n", "\n    return total\n\nprint()", "a + b"),
        ("a, b):\n  pass", "):\n    pass\n", "a, b"),
        ("x)", ")", "x)"),
        ("f(g(x))", "))", "f(g(x))"),
        ("return total", "return total", ""),
        ("a + b\n\nprint(", "\n\nprint(add())", "a + b"),
        ("a + b \n\nprint(", "\nprint(add())", "a + b \n"),
        ("a, b):\n\n", "):\n    pass\n", "a, b):\n\n"),
        ("return totals", "return total", "return totals"),
        ("plain", "", "plain"),
        ("plain", "   \n", "plain"),
        ("", "x = 1", ""),
    ],
)
def test_what_follows_anyway_is_not_said_twice(answer: str, suffix: str, left: str) -> None:
    assert shown(suffix, answer) == left
    assert shown(suffix, *answer) == shown(suffix, answer)


@given(st.text(alphabet="ab() \n", max_size=80), st.text(alphabet="ab() \n", max_size=80), st.integers(1, 7))
def test_only_an_end_is_ever_taken(answer: str, suffix: str, step: int) -> None:
    pieces = [answer[at : at + step] for at in range(0, len(answer), step)]
    got = shown(suffix, *pieces)
    assert answer.startswith(got)
    taken = "".join(answer[len(got) :].split())
    assert "".join(suffix.split()).startswith(taken)


def test_what_cannot_be_the_suffix_is_shown_at_once() -> None:
    overlap = Overlap("return total")
    assert overlap.feed("x = 1\n") == "x = 1\n"
    assert overlap.feed("ret") == ""
    assert overlap.feed("ry()") == "retry()"
