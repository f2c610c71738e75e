"""Forms become requests, and what was said becomes an answer, as OpenAI has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.errors import InvalidRequest
from freehold.protocol.requests import TranscriptionRequest, TranslationRequest, parse_form
from freehold.protocol.requests.audio import ServerVad
from freehold.protocol.requests.common import Extra, treatment
from freehold.protocol.transcripts import Segment, Transcript, Word, joined

DOCUMENTED = json.loads((Path(__file__).parent.parent / "data" / "openai-parameters.json").read_text())
SAID = Transcript(
    (Segment("It was <the> best", 1.2, 3.0004, (Word("It", 1.2, 1.5),)), Segment("of times\n\n& more.", 3725.5, 3726.0)),
    3730.25,
    "en",
)


def request(*fields: tuple[str, str], kind: Any = TranscriptionRequest) -> Any:
    return parse_form(kind, [("model", "m"), *fields]).value


@pytest.mark.parametrize(("kind", "name"), [(TranscriptionRequest, "transcription"), (TranslationRequest, "translation")])
def test_every_documented_field_is_known_and_no_other(kind: Any, name: str) -> None:
    own = {field for field in kind.model_fields if not isinstance(treatment(kind, field), Extra)}
    assert own | {"file"} == set(DOCUMENTED[name])


def test_arrays_come_with_and_without_brackets() -> None:
    for name in ("timestamp_granularities[]", "timestamp_granularities"):
        asked = request((name, "word"), (name, "segment"), ("response_format", "verbose_json"))
        assert asked.timestamp_granularities == ["word", "segment"]
        assert asked.words


def test_an_object_comes_as_json_or_field_by_field() -> None:
    whole = request(("chunking_strategy", '{"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 300}'))
    parts = [("type", "server_vad"), ("threshold", "0.7"), ("silence_duration_ms", "300")]
    assert request(*((f"chunking_strategy[{key}]", value) for key, value in parts)) == whole
    assert whole.chunking_strategy == ServerVad(type="server_vad", threshold=0.7, silence_duration_ms=300)
    assert request(("chunking_strategy", "auto")).chunking_strategy == "auto"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("True", True)])
def test_words_for_yes_and_no_are_taken_as_clients_write_them(text: str, value: bool) -> None:
    assert request(("stream", text)).stream is value


@pytest.mark.parametrize(("given", "spoken"), [("en", "en"), ("EN", "en"), ("en-US", "en"), ("pt_BR", "pt"), ("yue", "yue")])
def test_a_language_is_known_by_its_code(given: str, spoken: str) -> None:
    assert request(("language", given)).spoken == spoken
    assert request(("languages[]", given)).spoken == spoken


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("language", "en"), ("language", "de")], "language"),
        ([("languages[]", "en"), ("language", "en")], "languages"),
        ([("stream", "perhaps")], "stream"),
        ([("temperature", "warm")], "temperature"),
        ([("temperature", "NaN")], "temperature"),
        ([("temperature", "2")], "temperature"),
        ([("chunking_strategy", '{"type": "server_vad", "threshold": 2}')], "chunking_strategy"),
        ([("chunking_strategy", "[" * 9_000)], "chunking_strategy"),
        ([("chunking_strategy[type]", "server_vad"), ("chunking_strategy[type]", "server_vad")], "chunking_strategy"),
        ([("include[]", "logprobs")], "include"),
        ([("include[]", "everything")], "include"),
        ([("timestamp_granularities[]", "letter"), ("response_format", "verbose_json")], "timestamp_granularities"),
        ([("keywords[]", "x")] * 101, "keywords"),
        ([("prompt", "x")], "prompt"),
        ([("unknown", "x")], "unknown"),
    ],
)
def test_what_is_wrong_is_refused_with_its_name(fields: list[tuple[str, str]], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(*fields)
    assert str(caught.value.param).startswith(param)


def test_what_asks_for_nothing_passes() -> None:
    assert request(("prompt", ""), ("temperature", "0"), kind=TranslationRequest).form == "json"
    assert request(("prompt", ""), ("temperature", "0.0"), ("stream", "false")).form == "json"


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=60)), max_size=8))
@settings(max_examples=200)
def test_no_form_makes_the_parser_stumble(fields: list[tuple[str, str]]) -> None:
    try:
        request(*fields)
    except InvalidRequest as error:
        assert error.message


def test_subtitles_are_as_players_read_them() -> None:
    assert SAID.render("srt").decode() == (
        "1\n00:00:01,200 --> 00:00:03,000\nIt was <the> best\n\n2\n01:02:05,500 --> 01:02:06,000\nof times & more.\n\n"
    )
    assert SAID.render("vtt").decode() == (
        "WEBVTT\n\n00:00:01.200 --> 00:00:03.000\nIt was &lt;the&gt; best\n\n"
        "01:02:05.500 --> 01:02:06.000\nof times &amp; more.\n\n"
    )


def test_verbose_json_has_what_was_asked_for() -> None:
    body = json.loads(SAID.render("verbose_json", ["word"]))
    assert body["words"] == [{"word": "It", "start": 1.2, "end": 1.5}]
    assert "segments" not in body
    both = json.loads(SAID.render("verbose_json", ["word", "segment"]))
    assert [segment["id"] for segment in both["segments"]] == [0, 1]
    assert (both["language"], both["duration"], both["task"]) == ("english", 3730.25, "transcribe")


def test_nothing_said_is_an_answer_too() -> None:
    nothing = Transcript((), 2.0)
    assert json.loads(nothing.render("json")) == {"text": "", "usage": {"type": "duration", "seconds": 2.0}}
    assert nothing.render("srt") == b""
    assert nothing.render("vtt") == b"WEBVTT\n\n"


def test_pieces_are_joined_as_their_script_does() -> None:
    assert joined(["one", " two ", "", "three"]) == "one two three"
    assert joined(["今日は", "晴れ"]) == "今日は晴れ"
