"""Tiny models that tell voices apart, in the forms that sherpa-onnx wants: whoever speaks with a tone of 7 kHz is another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.workers.ears import _save, _value

RATE = 16_000
TONE = 7_000  # hertz
_WINDOW, _FIELD, _SHIFT = 160_000, 991, 270  # samples, as pyannote's segmentation 3.0 has them
FLOAT = TensorProto.FLOAT


def marked(samples: np.ndarray) -> np.ndarray:
    """The same words by the other voice; samples from -1 to 1."""
    tone = 0.03 * np.sin(2 * np.pi * TONE / RATE * np.arange(len(samples)))
    return np.asarray(samples + tone, np.float32)


def diariser(folder: Path) -> None:
    """Both models' files."""
    segmentation(folder / "segmentation.onnx")
    embedding(folder / "embedding.onnx")


def segmentation(path: Path) -> None:
    """Three speakers in a window: the first is a voice without the tone, the second one with it."""
    angle = 2 * np.pi * TONE / RATE * np.arange(_FIELD)
    waves = np.stack((np.cos(angle), np.sin(angle))).astype(np.float32)[:, None, :] * 2 / _FIELD
    mean = np.full((1, 1, _FIELD), 1 / _FIELD, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "waves"], ["parts"], strides=[_SHIFT]),
        helper.make_node("Mul", ["parts", "parts"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "channels"], ["power"], keepdims=1),
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("Conv", ["size", "mean"], ["level"], strides=[_SHIFT]),
        # Nobody wins unless it is loud; the second wins where the tone is.
        helper.make_node("Sub", ["level", "quiet"], ["first"]),
        helper.make_node("Sub", ["power", "faint"], ["above"]),
        helper.make_node("Mul", ["above", "large"], ["second"]),
        helper.make_node("Mul", ["level", "zero"], ["nobody"]),
        helper.make_node("Sub", ["nobody", "large"], ["never"]),
        helper.make_node("Concat", ["nobody", "first", "second", *["never"] * 4], ["classes"], axis=1),
        helper.make_node("Transpose", ["classes"], ["y"], perm=[0, 2, 1]),
    ]
    constants = {
        "waves": waves,
        "mean": mean,
        "channels": np.array([1], np.int64),
        "quiet": np.array(0.004, np.float32),
        "faint": np.array(0.01**2, np.float32),
        "large": np.array(1e4, np.float32),
        "zero": np.array(0, np.float32),
    }
    metadata = {
        "num_speakers": 3,
        "powerset_max_classes": 2,
        "num_classes": 7,
        "sample_rate": RATE,
        "window_size": _WINDOW,
        "receptive_field_size": _FIELD,
        "receptive_field_shift": _SHIFT,
    }
    _save(path, nodes, [_value("x", FLOAT, [None, 1, None])], [_value("y", FLOAT, [None, None, 7])], constants, metadata)


def embedding(path: Path) -> None:
    """(1, 0) for a voice without the tone, (0, 1) for one with it: by how much louder its band is than the one below it."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["bands"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["bands", "difference"], ["above"]),
        helper.make_node("Sub", ["above", "usual"], ["more"]),
        helper.make_node("Sigmoid", ["more"], ["tone"]),
        helper.make_node("Sub", ["one", "tone"], ["none"]),
        helper.make_node("Concat", ["none", "tone"], ["y"], axis=1),
    ]
    difference = np.zeros((80, 1), np.float32)
    difference[_band(TONE)], difference[_band(TONE) - 4] = 10, -10
    constants = {"difference": difference, "usual": np.array(13, np.float32), "one": np.array(1, np.float32)}
    metadata = {
        "framework": "wespeaker",
        "language": "English",
        "output_dim": 2,
        "sample_rate": RATE,
        "normalize_samples": 1,
        "feature_normalize_type": "",
    }
    _save(path, nodes, [_value("x", FLOAT, [None, None, 80])], [_value("y", FLOAT, [None, 2])], constants, metadata)


def _band(hertz: float) -> int:
    """Which of the 80 bands, equally wide in mel from 20 to 8,000 Hz, has that frequency in its middle."""

    def mel(frequency: float) -> float:
        return float(1127 * np.log(1 + frequency / 700))

    return round((mel(hertz) - mel(20)) / (mel(8_000) - mel(20)) * 81) - 1
