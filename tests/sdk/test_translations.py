"""What only some recognition models can: translation, languages, the time of each word. On tiny models of their form."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import fake_model, serving
from tests.speech import clip
from tests.workers import ears


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    data = tmp_path_factory.mktemp("ears")
    fake_model(data)
    for name, build, languages in (
        ("whisper", ears.whisper, ("de", "en")),
        ("transducer", ears.transducer, ("en",)),
    ):
        folder = tmp_path_factory.mktemp(name)
        ears.install(Store(data), f"{name}:tiny", name, build(folder), folder, languages)
    folder = tmp_path_factory.mktemp("own") / "streaming"
    folder.mkdir()
    ears.streaming(folder)
    pull(Store(data), str(folder), on_progress=lambda progress: None)
    env = {f"FREEHOLD_DEFAULT_{task}": "fake" for task in ("CHAT", "EMBEDDING")}
    env |= {"FREEHOLD_DEFAULT_TRANSCRIPTION": "whisper:tiny", "FREEHOLD_SPEECH_HOURS": "0.1"}
    with serving(data, env=env) as server, openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def sound() -> bytes:
    return clip("beckett.wav").read_bytes()


@pytest.mark.filterwarnings("ignore:deprecated")
def test_whisper_puts_what_was_said_into_english(client: openai.OpenAI, sound: bytes) -> None:
    def translated(**fields: Any) -> Any:
        return client.audio.translations.create(model="whisper-1", file=("a.wav", sound), **fields)

    assert translated().text == "hallo translated."
    told = translated(response_format="verbose_json").model_dump()
    assert (told["task"], told["language"], told["text"]) == ("translate", "english", "hallo translated. hallo translated.")
    assert "hallo translated." in translated(response_format="srt")


def test_whisper_is_told_the_language_or_finds_it(client: openai.OpenAI, sound: bytes) -> None:
    def heard(**fields: str) -> str:
        return client.audio.transcriptions.create(model="whisper-1", file=("a.wav", sound), **fields).text

    assert [heard(), heard(language="en"), heard(language="de"), heard()] == [
        "hallo written.",
        "hello written.",
        "hallo written.",
        "hallo written.",
    ]
    with pytest.raises(openai.BadRequestError, match="it knows: de, en"):
        heard(language="fr")


def test_an_audio_is_no_longer_than_the_setting_says(client: openai.OpenAI) -> None:
    size = 8_000 * 400  # bytes of as many seconds
    form = struct.pack("<8sIHHIIHH", b"WAVEfmt ", 16, 1, 1, 8_000, 8_000, 1, 8)
    head = struct.pack("<4sI", b"RIFF", 36 + size) + form + struct.pack("<4sI", b"data", size)
    with pytest.raises(openai.APIStatusError, match=r"longer than 0\.1 hours, the limit \(setting `speech\.hours`\)") as caught:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", head + b"\x80" * size))
    assert (caught.value.status_code, caught.value.code) == (413, "audio_too_long")


@pytest.mark.parametrize(("model", "least"), [("transducer:tiny", 20), ("streaming", 8)])
def test_a_model_that_times_its_words_tells_them(client: openai.OpenAI, sound: bytes, model: str, least: int) -> None:
    answer = client.audio.transcriptions.create(
        model=model,
        file=("a.wav", sound),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    starts = [word.start for word in answer.words or ()]
    assert len(starts) >= least
    assert starts == sorted(starts)
    assert all(0 <= word.start < word.end <= 10 for word in answer.words or ())
    assert " ".join(word.word for word in answer.words or ()) == answer.text
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", sound), response_format="verbose_json", timestamp_granularities=["word"]
        )
    assert caught.value.param == "timestamp_granularities"
