"""Tiny voice models, built as sherpa-onnx wants the real ones: they sing a tone for each phoneme, higher for each speaker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from freehold.store.manifest import File, Manifest
from freehold.store.store import Store, digest_of
from freehold.store.voices import described

RATE = 22_050
PER_PHONEME = 0.05  # seconds at speed 1
_SYMBOLS = "_^$ !'(),-.:;?abcdefhijklmnopqrstuvwxyzæçðøħŋœɐɑɔəɚɛɜɡɪɹɾʃʊʌʒʔˈˌːθ\u0303"


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
    return _styled(folder, {"model_type": "kitten-tts", "version": "1", "voice": "en-us"}, 8)


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
        options=options,
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
    graph = helper.make_graph(
        nodes,
        "voice",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, None]),
            helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, [None])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    return model


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
    graph = helper.make_graph(
        nodes,
        "voice",
        [
            helper.make_tensor_value_info("input", TensorProto.INT64, [1, None]),
            helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("sid", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, None])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    return model
