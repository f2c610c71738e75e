"""Voice models on sherpa-onnx, by tiny ones that sing: what they are made of, their voices, speed, and through the gateway."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from freehold.errors import BadModelFile, InvalidRequest
from freehold.hardware.onnx import onnx_properties
from freehold.protocol.voices import OPENAI, Voices
from freehold.store.store import Store
from freehold.store.voices import described
from freehold.workers.speech.espeak import Phonemes
from freehold.workers.speech.sherpa import Sherpa
from tests.cli.parts import run
from tests.conftest import Server, fake_model, serving
from tests.store.hubs import Repository
from tests.store.parts import web_server
from tests.workers import voices

MODELS = {"piper": voices.piper, "kokoro": voices.kokoro, "kitten": voices.kitten, "matcha": voices.matcha}
TEXT = "Hello world, this is a test."


def sung(model: Sherpa, options: dict[str, Any], name: str, speed: float = 1.0, until: int = 10**9) -> np.ndarray[Any, Any]:
    """Samples of the text, as far as `until` of them are taken."""
    heard = bytearray()

    def take(pcm: bytes) -> bool:
        heard.extend(pcm)
        return len(heard) < 2 * until

    model.speak(TEXT, Voices.of(options).find(name), speed, take)
    return np.frombuffer(bytes(heard), "<i2")


def pitch(samples: np.ndarray[Any, Any], rate: int) -> float:
    """Of the loudest tone, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(samples * 1.0)))) * rate / len(samples)


@pytest.mark.parametrize("family", MODELS)
def test_each_family_speaks_with_each_speaker_at_each_speed(family: str, tmp_path: Path) -> None:
    options = described(MODELS[family](tmp_path), "tiny")
    assert options["family"] == family
    model = Sherpa(tmp_path, family, 1)
    for voice in Voices.of(options).all:
        samples = sung(model, options, voice.id)
        assert pitch(samples, model.rate) == pytest.approx(220 * (1 + int(voice.speaker)), rel=0.05)
    usual = len(sung(model, options, Voices.of(options).all[0].id))
    assert usual > model.rate / 2
    assert len(sung(model, options, Voices.of(options).all[0].id, 2.0)) == pytest.approx(usual / 2, rel=0.05)
    assert len(sung(model, options, Voices.of(options).all[0].id, 0.25)) == pytest.approx(usual * 4, rel=0.05)


def test_voices_are_named_as_the_model_names_them(tmp_path: Path) -> None:
    found = Voices.of(described(voices.kokoro(tmp_path), "tiny"))
    assert [(voice.id, voice.language, voice.gender) for voice in found.all] == [
        ("af_heart", "en-us", "female"),
        ("bm_echo", "en-gb", "male"),  # and not the Japanese one, whose characters nothing here reads
    ]
    assert found.find("echo").id == "bm_echo"
    assert {found.find(name).gender for name in OPENAI} == {"female", "male"}
    assert {found.find(name).gender == sex for name, sex in OPENAI.items()} == {True}
    with pytest.raises(InvalidRequest, match="af_heart"):
        found.find("af_hart")


def test_phonemes_carry_the_marks_of_their_clauses() -> None:
    phonemes = Phonemes()
    assert phonemes.of("Hello world, this is a test! Really?", "en-us") == "həlˈoʊ wˈɜːld, ðɪs ɪz ɐ tˈɛst! ɹˈiəli?"
    assert phonemes.of("Guten Tag.", "de") == "ɡˈuːtən tˈɑːk."
    assert "(" not in phonemes.of("Das ist ein weekend event", "de")
    assert phonemes.of("[[h@l'oU]] <b>", "en-us") != phonemes.of("", "en-us")


def _truncated(files: dict[str, Path]) -> None:
    model = next(path for name, path in files.items() if name.endswith(".onnx"))
    model.write_bytes(model.read_bytes()[:-20])


def _other(files: dict[str, Path]) -> None:
    import onnx

    path = next(path for name, path in files.items() if name.endswith(".onnx"))
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"model_type": "zipvoice"})
    onnx.save(model, path)


def _lost(files: dict[str, Path]) -> None:
    del files["tokens.txt"]


@pytest.mark.parametrize("harm", [_truncated, _other, _lost])
def test_what_is_no_voice_model_is_refused(harm: Callable[[dict[str, Path]], None], tmp_path: Path) -> None:
    files = voices.piper(tmp_path)
    harm(files)
    with pytest.raises(BadModelFile):
        described(files, "tiny")


@pytest.mark.parametrize("raw", [b"", b"\xff" * 40, b"\x08\x01", b"GGUF" + b"\0" * 60, b"\x3a\xff\xff\xff\xff\x0f" + b"x" * 20])
def test_bytes_that_are_no_onnx_file_are_refused(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(raw)
    with pytest.raises(BadModelFile):
        onnx_properties(path)


@pytest.fixture(scope="module")
def singing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("data")
    fake_model(data)
    for family, make in MODELS.items():
        files = make(tmp_path_factory.mktemp(family))
        voices.install(Store(data), f"{family}:tiny", files)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_DEFAULT_SPEECH": "piper:tiny",
    }
    with serving(data, env=environment) as running:
        yield running


@pytest.mark.parametrize("model", ["tts-1", "kokoro:tiny", "kitten:tiny", "matcha:tiny"])
def test_they_answer_through_the_gateway(singing_server: Server, model: str) -> None:
    body = {"model": model, "input": f"{TEXT} {TEXT}", "voice": "alloy", "response_format": "flac"}
    request = urllib.request.Request(
        singing_server.root + "/v1/audio/speech", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer, av.open(io.BytesIO(answer.read())) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert 2 < len(samples) / 24_000 < 10
    assert np.abs(samples).max() > 1_000


def test_their_voices_are_listed_with_those_of_all_models(singing_server: Server) -> None:
    cards = singing_server.get("/v1/audio/voices")[2]["data"]
    found = {(card["model"], card["id"]) for card in cards}
    assert {("piper:tiny", "tiny-1"), ("kokoro:tiny", "af_heart"), ("kitten:tiny", "expr-voice-5-f")} <= found


ENTRY = """
[[entries]]
name = "piper:en_US-tiny"
license = "MIT"
parameters = 1_000_000
tasks = ["text-to-speech"]
output = ["audio"]
engine = "sherpa-onnx"

[[entries.variants]]
quantization = "FP32"
files = [{ role = "archive", reference = "hf:org/voice/vits-piper-tiny.tar.bz2", members = ["*.onnx", "tokens.txt"] }]
"""


def test_a_voice_is_pulled_out_of_its_archive(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = voices.piper(tmp_path_factory.mktemp("voice"))
    archive = tmp_path / "vits-piper-tiny.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        for name, path in files.items():
            tar.add(path, f"vits-piper-tiny/{name}")
        for name in ("espeak-ng-data/lang/gmw/en", "espeak-ng-data/voices/!v/Mr serious", "MODEL_CARD"):
            tar.addfile(tarfile.TarInfo(f"vits-piper-tiny/{name}"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalogue.toml").write_text(ENTRY)
    (tmp_path / "web").mkdir()
    with web_server(tmp_path / "web") as web:
        Repository(web, "org/voice", {archive.name: archive}).serve()
        env = {"HF_ENDPOINT": web.url, "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1"}
        done = run(tmp_path, "pull", "piper:en_US-tiny", "--data-dir", tmp_path / "data", env=env)
    assert done.code == 0, done
    manifest = Store(tmp_path / "data").get("piper:en_US-tiny")
    assert (manifest.task, manifest.options["family"]) == ("speech", "piper")
    assert {file.name for file in manifest.files} == {"en_US-tiny.onnx", "tokens.txt"}
    assert [voice["id"] for voice in manifest.options["voices"]] == ["en_US-tiny-0", "en_US-tiny-1"]


def test_a_model_that_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    fake_model(tmp_path / "data")
    (tmp_path / "files").mkdir()
    files = voices.kokoro(tmp_path / "files")
    files["voices.bin"].write_bytes(b"\0" * 12)  # other than the model's own account of it
    voices.install(Store(tmp_path / "data"), "kokoro:tiny", files)
    environment = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(tmp_path / "data", env=environment) as server:
        status, _, body = server.post("/v1/audio/speech", {"model": "kokoro:tiny", "input": "Hi.", "voice": "alloy"})
    assert status == 503
    assert body["error"]["code"] == "model_failed"
    assert "voices" in body["error"]["message"]
