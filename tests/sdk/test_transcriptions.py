"""Transcription with OpenAI's Python SDK against the real starter model."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.audio import TranscriptionStreamEvent
from pydantic import TypeAdapter

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server
from tests.speech import BECKETT, HEARS, TWO_CITIES, clip, word_errors

EVENT: TypeAdapter[Any] = TypeAdapter(TranscriptionStreamEvent)


@pytest.fixture(scope="module")
def client(server: Server, starters: Path) -> Iterator[openai.OpenAI]:
    store = Store(starters)
    if not store.has(HEARS):
        pull(store, HEARS, on_progress=lambda progress: None)
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def two_cities() -> bytes:
    return clip("two_cities.wav").read_bytes()


@pytest.fixture(scope="module")
def beckett() -> bytes:
    return clip("beckett.wav").read_bytes()


def test_recorded_speech_is_heard_with_few_errors(client, two_cities):
    answer = client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", two_cities))
    assert word_errors(TWO_CITIES, answer.text) <= 0.05
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(44.374, abs=0.01)


def test_a_path_and_openais_other_names_do_as_well(client):
    for model in ("gpt-4o-transcribe", HEARS):
        answer = client.audio.transcriptions.create(model=model, file=clip("beckett.wav"), language="en", temperature=0)
        assert word_errors(BECKETT, answer.text) <= 0.1


def test_text_is_plain_text(client, beckett):
    answer = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", beckett), response_format="text")
    assert answer == client.audio.transcriptions.create(model="whisper-1", file=("a.wav", beckett)).text + "\n"


def test_subtitles_have_the_times_of_the_speech(client, two_cities):
    srt = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", two_cities), response_format="srt")
    vtt = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", two_cities), response_format="vtt")
    assert srt.startswith("1\n00:00:01,")
    assert vtt.startswith("WEBVTT\n\n00:00:01.")
    starts = re.findall(r"^(\d\d):(\d\d):([\d.]+) --> (\d\d):(\d\d):([\d.]+)$", vtt, re.MULTILINE)
    times = [float(part) + 60 * float(minute) for line in starts for minute, part in (line[1:3], line[4:6])]
    assert len(times) >= 8
    assert times == sorted(times)
    assert times[-1] < 43
    assert word_errors(TWO_CITIES, re.sub(r"[\d:., >-]*-->.*|WEBVTT", "", vtt)) <= 0.05


def test_verbose_json_has_segments_and_no_invented_statistics(client, two_cities):
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", two_cities), response_format="verbose_json", timestamp_granularities=["segment"]
    ).model_dump()
    assert answer["language"] == "english"
    assert answer["duration"] == pytest.approx(44.374, abs=0.01)
    assert " ".join(segment["text"] for segment in answer["segments"]) == answer["text"]
    assert all(0 <= segment["start"] < segment["end"] <= 44.4 for segment in answer["segments"])
    assert answer["segments"][0]["avg_logprob"] is None


def test_a_stream_says_piece_by_piece_what_its_end_says_whole(client, two_cities):
    events = list(client.audio.transcriptions.create(model="whisper-1", file=("a.wav", two_cities), stream=True))
    for event in events:
        EVENT.validate_python(event.to_dict(mode="json"))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert len(deltas) >= 4
    assert [event.type for event in events][len(deltas) :] == ["transcript.text.done"]
    assert "".join(deltas) == events[-1].text
    assert word_errors(TWO_CITIES, events[-1].text) <= 0.05


def test_server_vad_says_where_pieces_are_cut(client, beckett):
    def pieces(silence: int) -> int:
        strategy = {"type": "server_vad", "silence_duration_ms": silence, "threshold": 0.5, "prefix_padding_ms": 200}
        stream = client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", beckett), stream=True, chunking_strategy=strategy
        )
        return sum(event.type == "transcript.text.delta" for event in stream)

    assert pieces(200) > pieces(3000) == 1


def test_silence_is_no_text(client):
    answer = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", silence(3)))
    assert answer.text == ""
    events = list(client.audio.transcriptions.create(model="whisper-1", file=("a.wav", silence(3)), stream=True))
    assert [(event.type, event.text) for event in events] == [("transcript.text.done", "")]


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("language", {"language": "de"}),
        ("prompt", {"prompt": "Dickens."}),
        ("temperature", {"temperature": 0.7}),
        ("include", {"include": ["logprobs"]}),
        ("timestamp_granularities", {"response_format": "verbose_json", "timestamp_granularities": ["word"]}),
        ("timestamp_granularities", {"timestamp_granularities": ["segment"]}),
        ("response_format", {"response_format": "diarized_json"}),
        ("response_format", {"response_format": "docx"}),
        ("stream", {"stream": True, "response_format": "srt"}),
        ("chunking_strategy", {"chunking_strategy": "never"}),
        ("keywords", {"extra_body": {"keywords": ["Dickens"]}}),
        ("languages", {"extra_body": {"languages": ["en", "de"]}}),
        ("known_speaker_names", {"known_speaker_names": ["agent"]}),
        ("diarise", {"extra_body": {"diarise": "true"}}),
    ],
)
def test_what_is_not_honoured_is_refused(client, beckett, param, fields):
    with pytest.raises(openai.BadRequestError) as error:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", beckett), **fields)
    assert str(error.value.param).startswith(param)


def test_a_model_that_does_not_hear_or_translate_says_so(client, beckett):
    with pytest.raises(openai.BadRequestError, match="does not turn speech into text"):
        client.audio.transcriptions.create(model="gpt-4o", file=("a.wav", beckett))
    with pytest.raises(openai.BadRequestError, match="does not translate"), pytest.deprecated_call():
        client.audio.translations.create(model="whisper-1", file=("a.wav", beckett))
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model="whisper-9", file=("a.wav", beckett))


def silence(seconds: int, rate: int = 16_000) -> bytes:
    data = bytes(2 * rate * seconds)
    head = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    head += b"\x01\x00\x01\x00" + rate.to_bytes(4, "little") + (2 * rate).to_bytes(4, "little") + b"\x02\x00\x10\x00"
    return head + b"data" + len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize(
    "data",
    [b"", b"no sound at all", bytes(5000), b"RIFF\xff\xff\xff\xffWAVEfmt ", b"#EXTM3U\nfile:///etc/passwd\n"],
    ids=["empty", "text", "zeros", "a head", "a playlist"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_audio_is_refused_and_costs_nobody_else(client, server, beckett, data, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", data), stream=stream)
    assert (caught.value.param, caught.value.code) == ("file", "invalid_audio")
    assert server.worker(HEARS)["restarts"] == 0


def test_a_form_that_is_none_is_refused(server):
    kind = {"Content-Type": "multipart/form-data; boundary=b"}

    def posted(*parts: str, headers: dict[str, str] = kind) -> tuple[int, str | None]:
        body = "".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--b--\r\n"
        status, _, answer = server.request("POST", "/v1/audio/transcriptions", body.encode(), headers)
        return status, answer["error"]["param"]

    model, sound = 'name="model"\r\n\r\nwhisper-1', 'name="file"; filename="a.wav"\r\n\r\nx'
    assert posted(model) == (400, "file")
    assert posted(sound) == (400, "model")
    assert posted(model, sound, sound) == (400, "file")
    assert posted(model, 'name="file"\r\n\r\nwords') == (400, "file")
    assert posted(model, sound, 'name="mask"; filename="a.wav"\r\n\r\nx') == (400, "mask")
    assert posted(model, headers={"Content-Type": "application/json"})[0] == 415


def test_an_upload_beyond_the_limit_is_refused_by_its_claim(server):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        connection.sendall(f"{head}Content-Length: {10 << 30}\r\n\r\n".encode())
        connection.settimeout(20)
        assert b" 413 " in connection.recv(1000)
