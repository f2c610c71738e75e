"""Prompts of fill-in-the-middle, spelt out for each family; a token is a letter here, a mark its text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import ContextLengthExceeded
from freehold.hardware.marks import MARKS
from freehold.protocol.fim.families import FAMILIES, Family, family_of
from freehold.protocol.fim.fill import Extra, Fill, Filled, Tokens, filled, texts_of

IDS = {mark: 1_000_000 + number for number, mark in enumerate(sorted(MARKS | {"@pre", "@suf", "@mid", "@rep", "@sep"}))}
SPELT = {number: mark for mark, number in IDS.items()}
BEGINS = 999_999

VOCABULARIES = {
    "qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
    "codegemma": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>"),
    "granite4": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>"),
    "starcoder2": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<repo_name>", "<file_sep>"),
    "starcoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<reponame>", "<filename>"),
    "granite3": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<reponame>"),
    "deepseek": ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "codellama": ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),
    "codestral": ("[PREFIX]", "[SUFFIX]", "[MIDDLE]"),
    "seed-coder": ("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"),
    "codegeex": ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    "keys": ("@pre", "@suf", "@mid", "@rep", "@sep"),
}
GOLDEN = {
    "qwen": "<|repo_name|>shop\n<|file_sep|>a.py\nA<|file_sep|>b.py\n<|fim_prefix|>def f(<|fim_suffix|>):\n<|fim_middle|>",
    "codegemma": "<|file_separator|>a.py\nA<|file_separator|>b.py\n<|fim_prefix|>def f(<|fim_suffix|>):\n<|fim_middle|>",
    "granite4": "<|fim_prefix|># a.py\nA\n\n# b.py\ndef f(<|fim_suffix|>):\n<|fim_middle|>",
    "starcoder2": "<repo_name>shop\n<file_sep>a.py\nA<file_sep>b.py\n<fim_prefix>def f(<fim_suffix>):\n<fim_middle>",
    "starcoder": "<reponame>shop\n<filename>a.py\nA<filename>b.py\n<fim_prefix>def f(<fim_suffix>):\n<fim_middle>",
    "granite3": "<fim_prefix><reponame>shop\n# a.py\nA\n\n# b.py\ndef f(<fim_suffix>):\n<fim_middle>",
    "deepseek": "<｜fim▁begin｜># a.py\nA\n\n# b.py\ndef f(<｜fim▁hole｜>):\n<｜fim▁end｜>",
    "codellama": "▁<PRE># a.py\nA\n\n# b.py\ndef f(▁<SUF>):\n▁<MID>",
    "codestral": "[SUFFIX]):\n[PREFIX]+++++ a.py\nA\n\n+++++ b.py\ndef f(",
    "seed-coder": "<[fim-suffix]>):\n<[fim-prefix]># a.py\nA\n\n# b.py\ndef f(<[fim-middle]>",
    "codegeex": "<|code_suffix|>):\n<|code_prefix|># a.py\nA\n\n# b.py\ndef f(<|code_middle|>",
    "keys": "@repshop\n@sepa.py\nA@sepb.py\n@predef f(@suf):\n@mid",
}
FILL = Fill("def f(", "):\n", path="b.py", repo="shop", extras=(Extra("a.py", "A"),))


def family(name: str) -> Family:
    found = family_of({mark: IDS[mark] for mark in VOCABULARIES[name]})
    assert found is not None
    return found


def asked(kind: Family, fill: Fill, room: int = 10_000, begins: Sequence[int] = ()) -> Filled:
    texts = texts_of(kind, fill)

    def ids(text: str) -> list[int]:
        return [ord(letter) for letter in text]

    tokens = Tokens(
        tuple(begins),
        ids(texts.prefix),
        ids(texts.suffix),
        ids(texts.head),
        ids(texts.here),
        [ids(each) for each in texts.extras],
    )
    return filled(kind, {mark: (number,) for mark, number in IDS.items()}, tokens, room)


def spelt(got: Filled) -> str:
    return "".join(SPELT.get(token) or chr(token) for token in got.tokens)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_family_is_known_by_its_marks_and_asked_in_its_own_way(name: str) -> None:
    assert family(name).name == name
    assert spelt(asked(family(name), FILL)) == GOLDEN[name]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_without_other_files_a_prompt_is_marks_prefix_and_suffix(name: str) -> None:
    got = spelt(asked(family(name), Fill("def f(", "):\n")))
    for mark in family(name).marks:
        assert got.count(mark) == 1
        got = got.replace(mark, "")
    assert got in {"def f():\n", "):\ndef f("}


def test_every_family_can_be_asked_for_and_is_refused_where_its_marks_are_missing() -> None:
    everything = dict(IDS)
    for kind in FAMILIES:
        found = family_of(everything, kind.name)
        assert found is not None
        assert found.name == kind.name
        assert family_of({}, kind.name) is None
    assert family_of({}) is None
    assert family_of({"<fim_prefix>": 1, "<fim_suffix>": 2}) is None


def test_a_text_with_marks_in_it_is_text() -> None:
    got = asked(family("qwen"), Fill("<|fim_suffix|>", "<|fim_middle|>"))
    assert [token for token in got.tokens if token >= 1_000_000] == [IDS[mark] for mark in family("qwen").marks]


def test_what_begins_every_prompt_stands_before_the_other_files() -> None:
    assert asked(family("qwen"), FILL, begins=[BEGINS]).tokens[0] == BEGINS
    assert asked(family("qwen"), FILL, begins=[BEGINS]).tokens.count(BEGINS) == 1


def test_the_nearest_pieces_come_whole_and_the_rest_not_at_all() -> None:
    fill = Fill("p" * 10, "s" * 10, path="x", extras=tuple(Extra(f"{n}.py", str(n) * 30) for n in range(6)))
    whole = len(asked(family("qwen"), fill).tokens)
    got = asked(family("qwen"), fill, whole - 1)
    assert got.extras == 5
    assert "0.py" not in spelt(got)
    assert spelt(got).index("1.py") < spelt(got).index("5.py")
    for n in range(1, 6):
        assert f"{n}.py\n{str(n) * 30}" in spelt(got)


def test_of_a_long_file_what_stands_next_to_the_gap_is_kept() -> None:
    got = asked(family("qwen"), Fill("a" * 500 + "P", "S" + "b" * 500), 103)
    text = spelt(got)
    assert len(got.tokens) == 103
    assert got.cut == 1002 - 100
    assert "aP<|fim_suffix|>Sb" in text
    assert text.count("a") == 74
    assert text.count("b") == 24


@given(st.integers(0, 60), st.integers(0, 60), st.lists(st.integers(0, 40), max_size=5), st.integers(1, 200))
def test_a_prompt_never_takes_more_room_than_there_is(prefix: int, suffix: int, extras: list[int], room: int) -> None:
    fill = Fill("p" * prefix, "s" * suffix, path="x", repo="r", extras=tuple(Extra("e", "e" * size) for size in extras))
    for kind in FAMILIES:
        try:
            got = asked(kind, fill, room)
        except ContextLengthExceeded:
            assert room < 20
            continue
        assert len(got.tokens) <= room
        assert got.cut + spelt(got).count("p") + spelt(got).count("s") >= prefix + suffix
