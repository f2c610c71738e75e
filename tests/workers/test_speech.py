"""Speech through the gateway, by espeak-ng: the formats, decoded again, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving, until

TEXT = "The quick brown fox jumps over the lazy dog. It was not amused."
DECODABLE = ("mp3", "opus", "aac", "flac", "wav")


@pytest.fixture(scope="module")
def speech_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("speech")
    fake_model(data)
    pull(Store(data), "espeak-ng", on_progress=lambda progress: None)
    with serving(data, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as running:
        yield running


def spoken(server: Server, **fields: Any) -> tuple[str, bytes]:
    """(content type, audio)."""
    body = {"model": "tts-1", "input": TEXT, "voice": "alloy", **fields}
    request = urllib.request.Request(
        server.root + "/v1/audio/speech", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers["content-type"], answer.read()


def refused(server: Server, **fields: Any) -> dict[str, Any]:
    status, _, body = server.post("/v1/audio/speech", {"model": "tts-1", "input": TEXT, "voice": "alloy", **fields})
    assert status == 400, body
    return dict(body["error"])


def decoded(audio: bytes) -> tuple[np.ndarray[Any, Any], int]:
    """(samples from -1 to 1, samples a second)."""
    with av.open(io.BytesIO(audio)) as container:
        stream = container.streams.audio[0]
        assert stream.channels == 1
        resampler = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), stream.rate


def seconds(audio: bytes) -> float:
    samples, rate = decoded(audio)
    return len(samples) / rate


@pytest.mark.parametrize("kind", DECODABLE)
def test_every_format_decodes_to_the_same_speech(speech_server: Server, kind: str) -> None:
    media, audio = spoken(speech_server, response_format=kind)
    samples, rate = decoded(audio)
    assert media == {"mp3": "audio/mpeg", "opus": "audio/ogg"}.get(kind, f"audio/{kind}")
    assert rate == (48_000 if kind == "opus" else 24_000)  # what Opus is always decoded to
    assert 3 < len(samples) / rate < 8
    assert np.sqrt(np.mean(samples**2)) > 0.02


def test_mp3_is_what_one_gets_unasked(speech_server: Server) -> None:
    assert spoken(speech_server)[0] == "audio/mpeg"


def test_pcm_is_bare_samples_of_24_khz(speech_server: Server) -> None:
    media, audio = spoken(speech_server, response_format="pcm")
    wav = spoken(speech_server, response_format="wav")[1]
    assert media == "audio/pcm"
    assert abs(len(audio) - (len(wav) - 44)) < 2_000  # espeak-ng varies its pauses by a few samples
    assert np.abs(np.frombuffer(audio, "<i2")).max() > 3_000


@pytest.mark.parametrize("speed", [0.25, 0.5, 2, 4])
def test_speed_is_honoured_within_a_quarter(speech_server: Server, speed: float) -> None:
    usual = seconds(spoken(speech_server, response_format="flac")[1])
    other = seconds(spoken(speech_server, response_format="flac", speed=speed)[1])
    assert other == pytest.approx(usual / speed, rel=0.25)


def test_events_carry_the_audio_and_its_usage(speech_server: Server) -> None:
    import base64

    media, raw = spoken(speech_server, stream_format="sse", response_format="wav")
    events = [json.loads(line.removeprefix("data: ")) for line in raw.decode().split("\n\n") if line]
    assert media.startswith("text/event-stream")
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    usage = events[-1]["usage"]
    assert events[-1]["type"] == "speech.audio.done"
    assert usage["input_tokens"] == len(TEXT)
    assert usage["output_tokens"] == pytest.approx(20 * seconds(audio), abs=2)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_voice_is_named_by_openai_by_language_or_as_an_object(speech_server: Server) -> None:
    plain = spoken(speech_server, response_format="pcm")[1]
    for voice in ("nova", "en-GB", "en-us+f3", "de", {"id": "onyx"}):
        other = spoken(speech_server, response_format="pcm", voice=voice)[1]
        assert len(other) > 20_000
        assert other[:40_000] != plain[:40_000]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"voice": "nobody"}, "voice"),
        ({"voice": "en-us+nobody"}, "voice"),
        ({"voice": {"id": 3}}, "voice"),
        ({"voice": {"name": "alloy"}}, "voice"),
        ({"input": ""}, "input"),
        ({"input": " \n\t"}, "input"),
        ({"input": "… !? …"}, "input"),
        ({"input": "😀 🎉"}, "input"),
        ({"input": "<break time='1s'/>"}, "input"),
        ({"input": "a" * 100_001}, "input"),
        ({"input": "Привет, мир!"}, "voice"),
        ({"input": "안녕하세요", "voice": "de"}, "voice"),
        ({"response_format": "wma"}, "response_format"),
        ({"speed": 0.2}, "speed"),
        ({"speed": 4.5}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"instructions": "Whisper."}, "instructions"),
        ({"stream_format": "websocket"}, "stream_format"),
        ({"model": "fake"}, "model"),
        ({"emotion": "joy"}, "emotion"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(speech_server: Server, fields: dict[str, Any], param: str) -> None:
    error = refused(speech_server, **fields)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


def test_a_refusal_needs_no_worker(tmp_path: Path) -> None:
    fake_model(tmp_path)
    pull(Store(tmp_path), "espeak-ng", on_progress=lambda progress: None)
    with serving(tmp_path, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as server:
        assert refused(server, voice="nobody")["param"] == "voice"
        assert refused(server, input="東京")["param"] == "voice"
        assert all(worker["model"] != "espeak-ng" for worker in server.get("/api/ps")[2]["workers"])


def test_a_fresh_folder_speaks_and_what_was_removed_comes_back(tmp_path: Path) -> None:
    fake_model(tmp_path)
    environment = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_STARTER": "true"}
    environment["FREEHOLD_DEFAULT_TRANSCRIPTION"] = "fake"
    for _ in range(2):
        with serving(tmp_path, env=environment) as server:
            assert len(spoken(server)[1]) > 2_000
            until(lambda server=server: server.request("DELETE", "/v1/models/espeak-ng")[0] == 200)
            status, _, answer = server.post("/v1/audio/speech", {"model": "tts-1", "input": TEXT, "voice": "alloy"})
            assert status == 404
            assert "freehold pull espeak-ng" in answer["error"]["message"]


HOSTILE = (
    "\x01v5 loud \x01p99 \x02[pa4[ \x00 end",
    # Of a search at random: control characters that overflow a buffer of espeak-ng's, were they to get there.
    "\x01[pa4[\x01\nr9\n\x013-\n40+]+]972-a68\x02\x02[6r{r13[a9p]}v{319}p]\x02v]+pr75278 -17]9+9 ]0\x02\x024]{5+2p]rr\n0p[2"
    "\x022a [9480[]",
    "<speak><prosody rate='x-slow'>slow</prosody><break time='3600s'/></speak>",
    "[[h@l'oU]] [[]]",
    "word" * 500,
    "9" * 500,
    "a\u0301" * 500,
    "\u202e\u200b\ufeff\U000e0041 hidden \ud83d",
    "Zalgo: " + "e" + "\u0315\u0321\u0353" * 200,
)


@pytest.mark.parametrize("voice", ["alloy", "si+quincy", "ru"])
def test_no_text_harms_the_worker(speech_server: Server, voice: str) -> None:
    assert len(spoken(speech_server)[1]) > 2_000
    before = speech_server.worker("espeak-ng")["pid"]
    for text in HOSTILE:
        with contextlib.suppress(urllib.error.HTTPError):  # a 400 where most of it is in another script
            assert len(spoken(speech_server, input=text, voice=voice, response_format="wav")[1]) > 44
    assert speech_server.worker("espeak-ng")["pid"] == before


def test_an_unknown_voice_is_answered_with_some_that_there_are(speech_server: Server) -> None:
    message = refused(speech_server, voice="alloi")["message"]
    assert "alloy" in message
    assert "/v1/audio/voices" in message


def test_a_text_in_another_script_is_pointed_to_a_voice_that_reads_it(speech_server: Server) -> None:
    message = refused(speech_server, input="Привет, мир!")["message"]
    assert "Cyrillic" in message
    assert "ru" in message
    assert len(spoken(speech_server, input="Привет, мир!", voice="ru")[1]) > 2_000


def test_a_japanese_text_must_be_in_kana(speech_server: Server) -> None:
    assert "kana" in refused(speech_server, input="東京は日本の首都です。", voice="ja")["message"]
    assert len(spoken(speech_server, input="とうきょうは にほんの しゅとです。", voice="ja")[1]) > 2_000
    assert len(spoken(speech_server, input="东京是日本的首都。", voice="zh")[1]) > 2_000


def test_the_voices_are_listed(speech_server: Server) -> None:
    _, _, body = speech_server.get("/v1/audio/voices")
    voices = {voice["id"]: voice for voice in body["data"]}
    assert len(voices) > 100
    assert voices["en-gb"]["language"] == "en-gb"
    assert voices["de"]["model"] == "espeak-ng"
    assert "alloy" in voices["en-us"]["aliases"]
    assert "f3" in body["variants"]["espeak-ng"]


def test_the_first_audio_of_a_long_text_comes_before_the_rest_is_made(speech_server: Server) -> None:
    long = "This sentence is one of very many. " * 2_800
    with speaking(speech_server, long) as answer:
        assert len(answer.read(2_000)) == 2_000
        assert speech_server.metric("freehold_leases", model="espeak-ng") == 1


def test_a_client_that_leaves_ends_the_speech(speech_server: Server) -> None:
    with speaking(speech_server, "This sentence is one of very many. " * 2_800) as answer:
        answer.read(2_000)
    until(lambda: speech_server.metric("freehold_leases", model="espeak-ng") == 0)
    used = cpu_seconds(speech_server.worker("espeak-ng")["pid"])
    assert len(spoken(speech_server)[1]) > 2_000
    # All of that text takes several seconds; what was left of it is not made beside a short one.
    assert cpu_seconds(speech_server.worker("espeak-ng")["pid"]) - used < 2


def test_short_texts_are_spoken_while_long_ones_go_on(speech_server: Server) -> None:
    long = "This sentence is one of very many. " * 2_800
    with speaking(speech_server, long) as first, speaking(speech_server, long) as second:
        first.read(2_000)
        second.read(2_000)
        assert len(spoken(speech_server)[1]) > 2_000
        assert speech_server.metric("freehold_leases", model="espeak-ng") == 2


def test_a_long_text_takes_bounded_memory(speech_server: Server) -> None:
    size = 0
    with speaking(speech_server, "This sentence is one of very many. " * 230) as answer:  # 8,000 characters
        while piece := answer.read(1 << 20):
            size += len(piece)
    assert size > 8_000 * 48_000 * 0.04  # at 25 characters a second
    assert speech_server.worker("espeak-ng")["rss_bytes"] < 200 * 2**20


@contextlib.contextmanager
def speaking(server: Server, text: str) -> Iterator[Any]:
    """An answer that is still coming, as pcm; hung up in the end."""
    body = {"model": "tts-1", "input": text, "voice": "alloy", "response_format": "pcm"}
    request = urllib.request.Request(
        server.root + "/v1/audio/speech", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        yield answer


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_is_written_down_is_kept_until_the_package_has_other_voices(tmp_path: Path) -> None:
    store = Store(tmp_path)
    manifest = pull(store, "espeak-ng", on_progress=lambda progress: None)
    written = store.stamp("espeak-ng")
    pull(store, "espeak-ng", on_progress=lambda progress: None)
    assert store.stamp("espeak-ng") == written
    store.save(dataclasses.replace(manifest, options={**manifest.options, "voices": manifest.options["voices"][1:]}))
    assert pull(store, "espeak-ng", on_progress=lambda progress: None).options == manifest.options
