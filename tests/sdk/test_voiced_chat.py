"""Chats that are heard and spoken, with OpenAI's Python SDK on the real starter models."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import av
import openai
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server
from tests.speech import BECKETT, HEARS, clip, word_errors

CHAT = "smollm2:135m"
ASKED = "Write one short sentence about the sun."


@pytest.fixture(scope="module")
def client(server: Server, starters: Path) -> Iterator[openai.OpenAI]:
    store = Store(starters)
    for name in (HEARS, "espeak-ng"):
        if not store.has(name):
            pull(store, name, on_progress=lambda progress: None)
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


def sound(data: bytes) -> dict[str, object]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}


def ask(client: openai.OpenAI, content: object = ASKED, **fields):  # type: ignore[no-untyped-def]
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(
        **({"model": CHAT, "messages": messages, "temperature": 0, "max_tokens": 24} | fields)
    )


@pytest.fixture(scope="module")
def plain(client: openai.OpenAI) -> str:
    """The answer as it is without sound."""
    return str(ask(client).choices[0].message.content)


def seconds(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(container.streams.audio[0]))
        return sum(frame.samples for frame in frames) / frames[0].sample_rate


def test_a_question_that_is_spoken_gets_the_answer_of_its_words(client: openai.OpenAI) -> None:
    said = clip("beckett.wav").read_bytes()
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", said)).text
    assert word_errors(BECKETT, heard) <= 0.1
    parts = [{"type": "text", "text": "Repeat:"}, sound(said)]
    as_words = [{"type": "text", "text": "Repeat:"}, {"type": "text", "text": heard}]
    assert ask(client, parts).choices[0].message.content == ask(client, as_words).choices[0].message.content


def test_an_answer_is_spoken_and_its_words_stand_beside_it(client: openai.OpenAI, plain: str) -> None:
    answer = ask(client, modalities=["text", "audio"], audio={"voice": "alloy", "format": "mp3"})
    message = answer.choices[0].message
    assert message.content is None
    assert message.audio.transcript == plain
    data = base64.b64decode(message.audio.data)
    assert seconds(data) > 0.5
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", data)).text
    assert word_errors(plain, heard) < 0.5


def test_a_spoken_answer_can_be_named_in_the_next_request(client: openai.OpenAI, plain: str) -> None:
    first = ask(client, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}).choices[0].message

    def goes_on(answer: dict[str, object]) -> str | None:
        messages = [
            {"role": "user", "content": ASKED},
            {"role": "assistant", **answer},
            {"role": "user", "content": "And Spain?"},
        ]
        return ask(client, messages=messages).choices[0].message.content

    assert goes_on({"audio": {"id": first.audio.id}}) == goes_on({"content": plain})
    with pytest.raises(openai.BadRequestError) as caught:
        goes_on({"audio": {"id": "audio_unknown"}})
    assert caught.value.param == "messages[1].audio.id"


def test_a_stream_has_the_words_first_and_sound_after_each_sentence(client: openai.OpenAI, plain: str) -> None:
    stream = ask(
        client,
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "pcm16"},
        stream=True,
        stream_options={"include_usage": True},
    )
    words, samples, kinds, usage, reason = "", b"", [], None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            assert choice.delta.content is None
            reason = choice.finish_reason or reason
            audio = choice.delta.audio.to_dict(mode="json") if choice.delta.audio else {}
            words += audio.get("transcript", "")
            samples += base64.b64decode(audio.get("data", ""))
            kinds += [name for name in ("transcript", "data", "expires_at") if name in audio]
    assert words == plain
    assert len(samples) % 2 == 0
    assert len(samples) / 2 / 24_000 > 0.5
    assert kinds[0] == "transcript"
    assert kinds[-1] == "expires_at"
    assert usage is not None
    assert usage.completion_tokens > 0
    assert reason in {"stop", "length"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"modalities": ["audio"], "audio": {"voice": "alloy", "format": "ogg"}}, "audio.format"),
        ({"modalities": ["audio"], "audio": {"voice": "nobody", "format": "wav"}}, "audio.voice"),
        ({"modalities": ["audio"], "audio": {"voice": "alloy", "format": "wav"}, "stream": True}, "audio.format"),
        ({"modalities": ["audio"], "audio": {"voice": "alloy", "format": "wav"}, "n": 2}, "n"),
        ({"modalities": ["smell"]}, "modalities[0]"),
    ],
)
def test_what_cannot_be_spoken_is_refused_by_its_name(client: openai.OpenAI, fields: dict[str, object], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(("data", "says"), [("", "empty"), ("no base64!", "base64"), ("bm8gc291bmQ=", "audio")])
def test_what_cannot_be_heard_is_refused_where_it_stands(client: openai.OpenAI, data: str, says: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        ask(client, [{"type": "text", "text": "Hm?"}, part])
    assert caught.value.param == "messages[0].content[1].input_audio.data"
