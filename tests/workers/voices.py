"""Tiny voice models, built as sherpa-onnx wants the real ones: they sing a tone for each phoneme, higher for each speaker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from freehold.store.manifest import File, Manifest
from freehold.store.store import Store, digest_of
from freehold.store.voices import described

RATE = 22_050
PER_PHONEME = 0.05  # seconds at speed 1
_SYMBOLS = "_^$ !'(),-.:;?abcdefhijklmnopqrstuvwxyzæçðøħŋœɐɑɔəɚɛɜɡɪɹɾʃʊʌʒʔˈˌːθ\u0303"


_KITTEN = ",".join(f"expr-voice-{number}-{sex}" for number in range(2, 6) for sex in "mf")


def piper(folder: Path, speakers: int = 2) -> dict[str, Path]:
    """The files of a Piper voice by name, in that folder."""
    model, tokens = folder / "en_US-tiny.onnx", folder / "tokens.txt"
    metadata = {
        "model_type": "vits",
        "comment": "piper",
        "language": "English",
        "voice": "en-us",
        "has_espeak": "1",
        "n_speakers": str(speakers),
        "sample_rate": str(RATE),
    }
    onnx.save(_singing(metadata), model)
    tokens.write_text("".join(f"{symbol} {number}\n" for number, symbol in enumerate(_SYMBOLS)), encoding="utf-8")
    return {path.name: path for path in (model, tokens)}


def kokoro(folder: Path) -> dict[str, Path]:
    """The files of a Kokoro model with three voices, one of them Japanese."""
    return _styled(folder, {"model_type": "kokoro", "version": "2", "speaker_names": "bm_echo,af_heart,jf_alpha"}, 3)


def kitten(folder: Path) -> dict[str, Path]:
    """The files of a Kitten model with its eight voices."""
    return _styled(folder, {"model_type": "kitten-tts", "version": "1", "voice": "en-us", "speaker_names": _KITTEN}, 8)


def _styled(folder: Path, metadata: Mapping[str, str], speakers: int) -> dict[str, Path]:
    """A model that is given a style for each voice: by the length of the text, numbers, of which the first is a pitch."""
    model, tokens, styles = folder / "model.onnx", folder / "tokens.txt", folder / "voices.bin"
    shape = (510, 1, 4) if metadata["model_type"] == "kokoro" else (1, 4)
    given = {"n_speakers": str(speakers), "sample_rate": "24000", "has_espeak": "1", "style_dim": ",".join(map(str, shape))}
    onnx.save(_styled_graph(dict(metadata) | given), model)
    tokens.write_text("".join(f"{symbol} {number}\n" for number, symbol in enumerate(_SYMBOLS)), encoding="utf-8")
    each = [np.full(shape, number, np.float32) for number in range(speakers)]
    styles.write_bytes(np.stack(each).tobytes())
    return {path.name: path for path in (model, tokens, styles)}


def matcha(folder: Path) -> dict[str, Path]:
    """The files of a Matcha voice and of a vocoder beside it."""
    model, vocoder, tokens = folder / "model-steps-3.onnx", folder / "hifigan_v2.onnx", folder / "tokens.txt"
    metadata = {"model_type": "matcha-tts", "language": "English", "voice": "en-us", "has_espeak": "1", "n_speakers": "1"}
    more = {"sample_rate": str(RATE), "version": "1", "num_ode_steps": "3", "use_eos_bos": "1", "pad_id": "0", "jieba": "0"}
    onnx.save(_spectrum(metadata | more), model)
    onnx.save(_vocoder(), vocoder)
    tokens.write_text("".join(f"{symbol} {number}\n" for number, symbol in enumerate(_SYMBOLS)), encoding="utf-8")
    return {path.name: path for path in (model, vocoder, tokens)}


def _spectrum(metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Matcha's inputs; output a mel spectrum (1, 80, frames), four frames for each token."""
    nodes = [
        helper.make_node("Cast", ["x_length"], ["tokens"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["tokens", "each"], ["usual"]),
        helper.make_node("Mul", ["usual", "length_scale"], ["long"]),
        helper.make_node("Cast", ["long"], ["frames"], to=TensorProto.INT64),
        helper.make_node("Concat", ["bands", "frames"], ["shape"], axis=0),
        helper.make_node("Expand", ["level", "shape"], ["mel"]),
    ]
    constants = {"each": np.array([4], np.float32), "bands": np.array([1, 80], np.int64), "level": np.array(0.1, np.float32)}
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.INT64, [1, None]),
        helper.make_tensor_value_info("x_length", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("noise_scale", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("length_scale", TensorProto.FLOAT, [1]),
    ]
    output = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, None])
    return _model(nodes, inputs, output, constants, metadata)


def _vocoder() -> onnx.ModelProto:
    """HiFi-GAN's input and output: 256 samples for each frame."""
    nodes = [
        helper.make_node("Shape", ["mel"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["frames"]),
        helper.make_node("Mul", ["frames", "hop"], ["samples"]),
        helper.make_node("Cast", ["samples"], ["total"], to=TensorProto.FLOAT),
        helper.make_node("Range", ["zero", "total", "step"], ["time"]),
        helper.make_node("Mul", ["time", "pitch"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["sine"]),
        helper.make_node("Unsqueeze", ["sine", "axes"], ["audio"]),
    ]
    constants = {
        "last": np.array(2, np.int64),
        "hop": np.array(256, np.int64),
        "zero": np.array(0, np.float32),
        "step": np.array(1, np.float32),
        "pitch": np.array(2 * np.pi * 220 / RATE, np.float32),
        "axes": np.array([0], np.int64),
    }
    inputs = [helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, None])]
    output = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, None])
    return _model(nodes, inputs, output, constants, {"model_type": "hifigan"})


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    output: onnx.ValueInfoProto,
    constants: Mapping[str, np.ndarray[Any, Any]],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    held = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "voice", inputs, [output], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    return model


def install(store: Store, name: str, files: Mapping[str, Path], label: str = "tiny") -> Manifest:
    """The model in the store, as a folder of parts, with the voices that its files tell of."""
    options = described(files, label)
    digests = {name: digest_of(path) for name, path in files.items()}
    manifest = Manifest(
        name=name,
        task="speech",
        engine="sherpa-onnx",
        files=tuple(File("part", name, digests[name], path.stat().st_size) for name, path in files.items()),
        source="test",
        license=None,
        created=int(time.time()),
        options=options | {"memory_bytes": 256 * 2**20},
    )
    return store.install(manifest, {digests[name]: path for name, path in files.items()})


def _styled_graph(metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Kokoro's and Kitten's inputs; output (samples)."""
    nodes = [
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["count"], axis=0),
        helper.make_node("Cast", ["count"], ["length"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["style"], ["speaker"], keepdims=0),
        helper.make_node("ReduceSum", ["speed"], ["pace"], keepdims=0),
        helper.make_node("Mul", ["length", "each"], ["usual"]),
        helper.make_node("Div", ["usual", "pace"], ["total"]),
        helper.make_node("Range", ["zero", "total", "step"], ["time"]),
        helper.make_node("Add", ["speaker", "step"], ["octave"]),
        helper.make_node("Mul", ["octave", "pitch"], ["turn"]),
        helper.make_node("Mul", ["time", "turn"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["audio"]),
    ]
    constants = {
        "last": np.array(1, np.int64),
        "each": np.array(24_000 * PER_PHONEME, np.float32),
        "zero": np.array(0, np.float32),
        "step": np.array(1, np.float32),
        "pitch": np.array(2 * np.pi * 220 / 24_000, np.float32),
    }
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, None]),
        helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 4]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    output = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [None])
    return _model(nodes, inputs, output, constants, metadata)


def _singing(metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Piper's inputs; output (1, 1, samples): so many samples for each token, a sine whose pitch is the speaker's."""
    nodes = [
        helper.make_node("Cast", ["input_lengths"], ["tokens"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["scales", "one"], ["stretch"], axis=0),
        helper.make_node("Mul", ["tokens", "each"], ["usual"]),
        helper.make_node("Mul", ["usual", "stretch"], ["long"]),
        helper.make_node("ReduceSum", ["long"], ["total"], keepdims=0),
        helper.make_node("Range", ["zero", "total", "step"], ["time"]),
        helper.make_node("Cast", ["sid"], ["speaker"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["speaker", "step"], ["octave"]),
        helper.make_node("Mul", ["octave", "pitch"], ["turn"]),
        helper.make_node("Mul", ["time", "turn"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["sine"]),
        helper.make_node("Mul", ["sine", "half"], ["quiet"]),
        helper.make_node("Unsqueeze", ["quiet", "axes"], ["output"]),
    ]
    constants = {
        "one": np.array(1, np.int64),
        "each": np.array([RATE * PER_PHONEME], np.float32),
        "zero": np.array(0, np.float32),
        "step": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
        "pitch": np.array([2 * np.pi * 220 / RATE], np.float32),
        "axes": np.array([0, 1], np.int64),
    }
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, None]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
        helper.make_tensor_value_info("sid", TensorProto.INT64, [1]),
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, None])
    return _model(nodes, inputs, output, constants, metadata)
