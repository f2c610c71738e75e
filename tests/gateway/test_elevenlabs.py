"""ElevenLabs' clients find their endpoint, their formats, their key and their errors."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import av
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving

TEXT = {"text": "The first move is what sets everything in motion."}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("speech")
    fake_model(data)
    pull(Store(data), "espeak-ng", on_progress=lambda progress: None)
    environment = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(data, env=environment, key="secret", ready=False) as running:
        yield running


def said(server: Server, path: str, body: Any, key: str = "secret") -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body)."""
    request = urllib.request.Request(
        f"{server.root}/v1/text-to-speech/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "xi-api-key": key},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.status, {name.lower(): value for name, value in error.headers.items()}, error.read()


@pytest.mark.parametrize(
    ("output_format", "media", "rate"),
    [
        (None, "audio/mpeg", 44_100),
        ("mp3_22050_32", "audio/mpeg", 22_050),
        ("opus_48000_64", "audio/ogg", 48_000),
        ("wav_16000", "audio/wav", 16_000),
    ],
)
def test_the_output_format_is_what_was_asked_for(server: Server, output_format: str | None, media: str, rate: int) -> None:
    query = f"?output_format={output_format}" if output_format else ""
    for path in (f"alloy{query}", f"alloy/stream{query}"):
        status, headers, audio = said(server, path, TEXT)
        assert (status, headers["content-type"]) == (200, media)
        with av.open(io.BytesIO(audio)) as container:
            stream = container.streams.audio[0]
            assert stream.rate == rate
            assert 1 < sum(frame.samples for frame in container.decode(stream)) / rate < 8


@pytest.mark.parametrize(
    ("output_format", "bytes_a_second"), [("pcm_16000", 32_000), ("ulaw_8000", 8_000), ("alaw_8000", 8_000)]
)
def test_bare_samples_have_the_rate_that_was_asked_for(server: Server, output_format: str, bytes_a_second: int) -> None:
    assert 1 < len(said(server, f"alloy?output_format={output_format}", TEXT)[2]) / bytes_a_second < 8


def test_settings_are_honoured_or_named(server: Server) -> None:
    usual = said(server, "en-us?output_format=pcm_16000", TEXT)[2]
    settings = {"speed": 2.0, "stability": 0.5, "similarity_boost": 0.75}
    _, headers, fast = said(server, "en-us?output_format=pcm_16000", TEXT | {"voice_settings": settings, "seed": 1})
    assert len(fast) < 0.7 * len(usual)
    assert headers["x-freehold-ignored"] == "seed, voice_settings.similarity_boost, voice_settings.stability"


@pytest.mark.parametrize(
    ("path", "fields", "status", "param"),
    [
        ("nobody", {}, 400, "voice"),
        ("alloy?output_format=mp3_1_1", {}, 400, "output_format"),
        ("alloy?output_format=flac_44100", {}, 400, "output_format"),
        ("alloy", {"text": ""}, 400, "text"),
        ("alloy", {"text": "…"}, 400, "input"),
        ("alloy", {"language_code": "de"}, 400, "language_code"),
        ("alloy", {"voice_settings": {"speed": 9}}, 400, "voice_settings.speed"),
        ("alloy", {"apply_text_normalization": "off"}, 400, "apply_text_normalization"),
        ("alloy", {"pronunciation_dictionary_locators": [{"a": "b"}]}, 400, "pronunciation_dictionary_locators"),
        ("alloy", {"model_id": "nothing"}, 404, "model"),
        ("alloy", {"mood": "glad"}, 400, "mood"),
    ],
)
def test_errors_have_elevenlabs_shape(server: Server, path: str, fields: dict[str, Any], status: int, param: str) -> None:
    answered, headers, raw = said(server, path, TEXT | fields)
    detail = json.loads(raw)["detail"]
    assert (answered, detail["param"]) == (status, param)
    assert detail["message"].endswith((".", "?"))
    assert detail["request_id"] == headers["request-id"] == headers["x-request-id"]


def test_the_key_comes_in_their_header(server: Server) -> None:
    status, _, raw = said(server, "alloy", TEXT, key="wrong")
    assert (status, json.loads(raw)["detail"]["status"]) == (401, "invalid_api_key")


def test_voices_are_listed_before_one_is_used(server: Server) -> None:
    voices = {voice["voice_id"]: voice for voice in server.get("/v1/voices")[2]["voices"]}
    assert voices["de"]["labels"] == {"language": "de", "gender": "male"}
