"""JSON with comments is edited in place: what is not ours keeps every byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.cli.connect import jsonc

PLACE = ("l", "m")
VALUE = {"x": 1, "y": [1, {}]}


@pytest.mark.parametrize(
    "text",
    [
        "{\n}",
        '{"a": 1}',
        '{\n  // first\n  "a": 1 // behind\n}\n',
        '{\n\t"a": {"b": [1,2,],}, /* z */\n}',
        '{\r\n  "a": 1\r\n}\r\n',
        "{ // only a comment\n}",
        '{\n    "a": "//", "b": "/*", "c": "\\"}"\n}\n',
    ],
)
def test_what_is_set_can_be_taken_out_to_the_byte(text: str) -> None:
    new = jsonc.with_value(text, PLACE, VALUE)
    assert jsonc.value_of(new) == {**jsonc.value_of(text), "l": {"m": VALUE}}
    assert all(part in new for part in ("//", "/*") if part in text)
    assert jsonc.without(jsonc.without(new, PLACE), PLACE[:1]) == text


@pytest.mark.parametrize("text", ["", "\n", "{}"])
def test_an_empty_file_becomes_an_object(text: str) -> None:
    assert json.loads(jsonc.with_value(text, PLACE, VALUE)) == {"l": {"m": VALUE}}


def test_a_value_that_is_there_is_replaced_and_brought_back() -> None:
    text = '{\n  "l": { "m": [1, // one\n 2], "n": 3 }, // kept\n}\n'
    raw = jsonc.raw_at(text, PLACE)
    new = jsonc.with_value(text, PLACE, VALUE)
    assert jsonc.value_of(new) == {"l": {"m": VALUE, "n": 3}}
    assert raw is not None
    assert jsonc.with_raw(new, PLACE, raw) == text


def test_an_item_of_a_list_is_found_by_a_member() -> None:
    text = '[\n  {"name": "Other", "v": 1}, // theirs\n]\n'
    ours = (("name", "F"),)
    once = jsonc.with_value(text, ours, {"name": "F", "v": 1})
    twice = jsonc.with_value(once, ours, {"name": "F", "v": 2})
    assert jsonc.value_of(twice) == [{"name": "Other", "v": 1}, {"name": "F", "v": 2}]
    assert jsonc.without(twice, ours) == text


@pytest.mark.parametrize(
    "text", ["{", '{"a" 1}', '{"a": 1 "b": 2}', "{'a': 1}", "[1] 2", '{"a": tru}', "{,}", "[" * 5000, '{"a": "\n"}']
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(jsonc.NotJson):
        jsonc.with_value(text, PLACE, 1)


def test_a_path_through_a_number_is_refused() -> None:
    with pytest.raises(jsonc.NotJson, match="no object"):
        jsonc.with_value('{"l": 3}', PLACE, 1)


names = st.text(max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(names, values, max_size=4), names, values, st.sampled_from([None, 2, "\t"]))
def test_any_object_takes_any_value_and_gives_it_back(held: dict[str, Any], name: str, value: Any, indent: Any) -> None:
    text = json.dumps(held, indent=indent, ensure_ascii=False)
    raw = jsonc.raw_at(text, [name])
    new = jsonc.with_value(text, [name], value)
    assert jsonc.value_of(new) == {**held, name: value}
    old = jsonc.without(new, [name]) if raw is None else jsonc.with_raw(new, [name], raw)
    assert jsonc.value_of(old) == held
    assert old == text or not held
