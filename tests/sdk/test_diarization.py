"""Who says what: a recording of two voices, told apart and put into words, with OpenAI's own client."""

from __future__ import annotations

import base64
import io
import itertools
import json
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving, until
from tests.realtime.conftest import DEFAULTS, lend
from tests.speech import BECKETT, HEARS, TWO_CITIES, clip, word_errors, words
from tests.workers import speakers
from tests.workers.hearing import samples

RATE = 16_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data, folder = tmp_path_factory.mktemp("diarized"), tmp_path_factory.mktemp("own") / "voices"
    fake_model(data)
    lend(data, HEARS)
    folder.mkdir()
    speakers.diariser(folder)
    pull(Store(data), str(folder), on_progress=lambda progress: None)
    with serving(data, env=DEFAULTS) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


def sound(name: str) -> np.ndarray:
    return samples(clip(name).read_bytes(), RATE).astype(np.float32) / 32768


def wav(*pieces: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes((np.concatenate(pieces).clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def talk() -> bytes:
    """Twenty seconds of each of two voices, in turns: Beckett, the Tale, Beckett again."""
    pause = np.zeros(RATE // 2, np.float32)
    return wav(
        sound("beckett.wav"),
        pause,
        speakers.marked(sound("two_cities.wav")[: 8 * RATE + RATE // 2]),
        pause,
        sound("beckett.wav"),
    )


def said(segments: list[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for segment in segments:
        found[segment.speaker] = f"{found.get(segment.speaker, '')} {segment.text}"
    return found


def test_each_voice_has_its_words(client: openai.OpenAI, talk: bytes) -> None:
    told = client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=("talk.wav", talk), response_format="diarized_json", chunking_strategy="auto"
    )
    assert told.task == "transcribe"
    assert told.duration == pytest.approx(29.4, abs=0.5)
    segments: list[Any] = list(told.segments)
    assert list(dict.fromkeys(segment.speaker for segment in segments)) == ["A", "B"]
    assert [segment.id for segment in segments] == [f"seg_{number:03}" for number in range(len(segments))]
    assert all(segment.type == "transcript.text.segment" for segment in segments)
    assert all(before.end <= after.start + 0.01 for before, after in itertools.pairwise(segments))
    assert next(segment.start for segment in segments if segment.speaker == "B") > 10
    heard = said(segments)
    assert word_errors(f"{BECKETT} {BECKETT}", heard["A"]) <= 0.25
    assert word_errors(" ".join(words(TWO_CITIES)[: len(words(heard["B"]))]), heard["B"]) <= 0.15
    assert told.text == " ".join(segment.text for segment in segments)


def test_a_stream_tells_each_segment_with_its_speaker(client: openai.OpenAI, talk: bytes) -> None:
    events = list(
        client.audio.transcriptions.create(
            model="gpt-4o-transcribe-diarize",
            file=("talk.wav", talk),
            response_format="diarized_json",
            stream=True,
        )
    )
    kinds = [event.type for event in events]
    assert kinds[-1] == "transcript.text.done"
    assert kinds[:-1] == ["transcript.text.delta", "transcript.text.segment"] * (len(kinds) // 2)
    segments: list[Any] = [event for event in events if event.type == "transcript.text.segment"]
    assert {segment.speaker for segment in segments} == {"A", "B"}
    deltas: list[Any] = [event for event in events if event.type == "transcript.text.delta"]
    assert [delta.segment_id for delta in deltas] == [segment.id for segment in segments]
    assert "".join(delta.delta for delta in deltas) == events[-1].text


def test_a_known_voice_has_its_name(client: openai.OpenAI, talk: bytes) -> None:
    reference = wav(speakers.marked(sound("endgame_nagg_nell.wav")[: 5 * RATE]))
    url = "data:audio/wav;base64," + base64.b64encode(reference).decode()

    def told(**fields: Any) -> Any:
        return client.audio.transcriptions.create(
            model="gpt-4o-transcribe-diarize",
            file=("talk.wav", talk),
            response_format="diarized_json",
            extra_body={"known_speaker_names": ["Reader"], "known_speaker_references": [url], **fields},
        )

    assert list(dict.fromkeys(segment.speaker for segment in told().segments)) == ["A", "Reader"]
    for fields, match in (
        ({"known_speaker_names": ["Reader", "Other"]}, "2 names and 1 references"),
        ({"known_speaker_references": ["http://example.com/a.wav"]}, "known_speaker_references"),
        ({"known_speaker_references": ["data:audio/wav;base64,!!!"]}, "is a data URL"),
        ({"known_speaker_references": ["data:audio/wav;base64,AAAA"]}, "'Reader': The file is not audio"),
        ({"known_speaker_references": ["data:audio/wav;base64," + base64.b64encode(reference[:20_000]).decode()]}, "a second"),
    ):
        with pytest.raises(openai.BadRequestError, match=match) as caught:
            told(**fields)
        assert caught.value.param is not None
        assert caught.value.param.startswith("known_speaker_references")


def test_the_model_is_listed_and_does_nothing_else(server: Server, client: openai.OpenAI, talk: bytes) -> None:
    [card] = [card for card in server.get("/v1/models")[2]["data"] if card["id"] == "voices"]
    assert (card["task"], card["architecture"]["input_modalities"]) == ("diarization", ["audio"])
    with pytest.raises(openai.BadRequestError, match="does not turn speech into text"):
        client.audio.transcriptions.create(model="voices", file=("talk.wav", talk))
    with pytest.raises(openai.BadRequestError, match="voices"):
        client.chat.completions.create(model="voices", messages=[{"role": "user", "content": "Hello."}])


def test_what_is_no_audio_or_silent_is_told(client: openai.OpenAI) -> None:
    def told(data: bytes) -> Any:
        return client.audio.transcriptions.create(model="whisper-1", file=("a.wav", data), response_format="diarized_json")

    with pytest.raises(openai.BadRequestError, match="not audio of a known format"):
        told(b"nothing")
    assert json.loads(told(wav(np.zeros(3 * RATE, np.float32))).model_dump_json())["segments"] == []


def test_a_client_that_leaves_ends_the_work(server: Server, client: openai.OpenAI) -> None:
    """An hour of noise, which nobody waits for."""
    noise = np.random.default_rng(0).normal(0, 0.1, 60 * RATE).astype(np.float32)
    body = wav(noise)[44:] * 60
    form = struct.pack("<8sIHHIIHH", b"WAVEfmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    head = struct.pack("<4sI", b"RIFF", 36 + len(body)) + form + struct.pack("<4sI", b"data", len(body))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=4).audio.transcriptions.create(
            model="whisper-1", file=("a.wav", head + body), response_format="diarized_json"
        )
    until(lambda: not any(worker["busy"] for worker in server.get("/api/ps")[2]["workers"]))
    until(lambda: not telling())


def telling() -> list[Path]:
    """The processes that tell who speaks when."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"freehold.workers.diarization.telling" in command:
            found.append(path)
    return found
