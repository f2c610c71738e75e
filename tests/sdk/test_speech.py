"""OpenAI's own client speaks, streamed and whole, and hears what was spoken."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.realtime.conftest import lend
from tests.speech import HEARS, word_errors

SENTENCES = (
    "Please bring two cups from the kitchen.",
    "She walked along the river every morning.",
    "There is a good bakery around the corner.",
    "The doctor told him to drink more water.",
    "Put the wet shoes next to the door.",
    "Nobody knew who had left the lights on.",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("data")
    fake_model(data)
    lend(data, HEARS)
    pull(Store(data), "espeak-ng", on_progress=lambda progress: None)
    with serving(data, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as made:
        yield made


def test_what_the_default_voice_says_is_understood(client: openai.OpenAI) -> None:
    """Twenty sentences are measured by the benchmark (docs/speech.md); these few must be heard for the most part."""
    rates = []
    for sentence in SENTENCES:
        audio = client.audio.speech.create(model="tts-1", voice="alloy", input=sentence, response_format="wav").content
        heard = client.audio.transcriptions.create(model="whisper-1", file=("said.wav", audio)).text
        rates.append(word_errors(sentence, heard))
    assert sum(rates) / len(rates) < 0.35, rates


def test_speech_is_streamed(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="coral", input="One sentence. " * 200, response_format="pcm"
    ) as answer:
        pieces = answer.iter_bytes()
        first = next(pieces)
        assert 0 < len(first) < 1_000_000
        assert sum(map(len, pieces)) > 1_000_000


def test_a_voice_that_is_not_there_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(model="tts-1", voice="nobody", input="Hi.")
    assert caught.value.param == "voice"
