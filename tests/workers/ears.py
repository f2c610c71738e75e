"""Tiny recognition models, built as sherpa-onnx wants the real ones: what they hear depends on what they are told and given."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from freehold.store.manifest import File, Manifest
from freehold.store.store import Store, digest_of

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

# Whisper's vocabulary here. The first word that it says is the language it was told or found, the second what it does.
_WORDS = ("hallo", "hello", " written", " translated", ".")
_EOT, _SOT, _DE, _EN, _TRANSLATE, _TRANSCRIBE, _NO_SPEECH, _NO_TIMES = range(5, 13)
_VOCABULARY = 13


def whisper(folder: Path) -> dict[str, str]:
    """The files of a Whisper model by their roles. It takes all speech for German."""
    metadata = {
        "model_type": "whisper-tiny",
        "n_mels": 80,
        "n_text_layer": 1,
        "n_text_ctx": 448,
        "n_text_state": 1,
        "n_vocab": _VOCABULARY,
        "sot": _SOT,
        "eot": _EOT,
        "blank_id": 4,
        "translate": _TRANSLATE,
        "transcribe": _TRANSCRIBE,
        "is_multilingual": 1,
        "no_timestamps": _NO_TIMES,
        "no_speech": _NO_SPEECH,
        "sot_sequence": f"{_SOT},{_EN},{_TRANSCRIBE}",
        "all_language_tokens": f"{_DE},{_EN}",
        "all_language_codes": "de,en",
    }
    encoder = [
        helper.make_node("ReduceMean", ["mel"], ["mean"], keepdims=1),
        helper.make_node("Reshape", ["mean", "one"], ["cross_k"]),
        helper.make_node("Identity", ["cross_k"], ["cross_v"]),
    ]
    cross = [_value("cross_k", FLOAT, [1, 1, 1, 1]), _value("cross_v", FLOAT, [1, 1, 1, 1])]
    constants = {"one": np.array([1, 1, 1, 1], np.int64)}
    _save(folder / "encoder.onnx", encoder, [_value("mel", FLOAT, [1, 80, None])], cross, constants, metadata)
    _save(folder / "decoder.onnx", *_whisper_decoder(), {})
    tokens = [base64.b64encode(word.encode()).decode() + f" {number}\n" for number, word in enumerate(_WORDS)]
    (folder / "tokens.txt").write_text("".join(tokens))
    return {"encoder": "encoder.onnx", "decoder": "decoder.onnx", "tokens": "tokens.txt"}


def _whisper_decoder() -> tuple[Any, Any, Any, Any]:
    """Logits that depend on all tokens of a call, and on the first of those before it, which the cache holds."""
    table = np.zeros((_VOCABULARY, _VOCABULARY), np.float32)
    table[_SOT, _DE] = 1  # who asks which language it is
    table[_DE, 0] = table[_EN, 1] = 10
    table[[0, 1], 2] = 10  # after the language, what it does: the cache says it
    table[[2, 3], 4] = 30
    table[4, _EOT] = 90
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["each"], axis=0),
        helper.make_node("CumSum", ["each", "axis"], ["summed"]),
        # The task is kept in the self cache: 1 for a translation, found in the first call's tokens.
        helper.make_node("Equal", ["tokens", "translate"], ["is"]),
        helper.make_node("Cast", ["is"], ["asked"], to=FLOAT),
        helper.make_node("ReduceMax", ["asked"], ["task"], keepdims=0),
        helper.make_node("Add", ["in_k", "task"], ["out_k"]),
        helper.make_node("Identity", ["in_v"], ["out_v"]),
        helper.make_node("ReduceMax", ["out_k"], ["kept"], keepdims=0),
        helper.make_node("Mul", ["bonus", "kept"], ["more"]),
        helper.make_node("Add", ["summed", "more"], ["logits"]),
    ]
    bonus = np.zeros((1, 1, _VOCABULARY), np.float32)
    bonus[0, 0, 3] = 9.0
    bonus[0, 0, 2] = -5.0
    constants = {
        "table": table,
        "axis": np.array(1, np.int64),
        "translate": np.array(_TRANSLATE, np.int64),
        "bonus": bonus,
    }
    inputs = [
        _value("tokens", INT64, [1, None]),
        _value("in_k", FLOAT, [1, 1, 448, 1]),
        _value("in_v", FLOAT, [1, 1, 448, 1]),
        _value("cross_k", FLOAT, [1, 1, 1, 1]),
        _value("cross_v", FLOAT, [1, 1, 1, 1]),
        _value("offset", INT64, [1]),
    ]
    outputs = [
        _value("logits", FLOAT, [1, None, _VOCABULARY]),
        _value("out_k", FLOAT, [1, 1, 448, 1]),
        _value("out_v", FLOAT, [1, 1, 448, 1]),
    ]
    return nodes, inputs, outputs, constants


def transducer(folder: Path) -> dict[str, str]:
    """The files of a Zipformer transducer by their roles: a word for each quarter of a second of sound, whatever is said."""
    nodes = [
        helper.make_node("Slice", ["x", "zero", "most", "time", "four"], ["fewer"]),
        helper.make_node("ReduceMean", ["fewer"], ["level"], axes=[2], keepdims=1),
        helper.make_node("Mul", ["level", "nothing"], ["flat"]),
        helper.make_node("Shape", ["flat"], ["shape"]),
        helper.make_node("Gather", ["shape", "second"], ["frames"]),
        helper.make_node("Range", ["zero_", "frames", "one_"], ["number"]),
        helper.make_node("Mod", ["number", "six"], ["phase"]),
        helper.make_node("Cast", ["phase"], ["phases"], to=FLOAT),
        helper.make_node("Unsqueeze", ["phases", "ends"], ["column"]),
        helper.make_node("Add", ["flat", "column"], ["encoder_out"]),
        helper.make_node("Div", ["x_lens", "four"], ["encoder_out_lens"]),
    ]
    constants = {
        "zero": np.array([0], np.int64),
        "most": np.array([2**31], np.int64),
        "time": np.array([1], np.int64),
        "four": np.array([4], np.int64),
        "second": np.array(1, np.int64),
        "zero_": np.array(0, np.int64),
        "one_": np.array(1, np.int64),
        "six": np.array(6, np.int64),
        "ends": np.array([0, 2], np.int64),
        "nothing": np.array(0, np.float32),
    }
    inputs = [_value("x", FLOAT, [1, None, 80]), _value("x_lens", INT64, [1])]
    outputs = [_value("encoder_out", FLOAT, [1, None, 1]), _value("encoder_out_lens", INT64, [1])]
    _save(folder / "encoder.onnx", nodes, inputs, outputs, constants, {"model_type": "zipformer2"})
    _decoder(folder, 3)
    # A blank but for the first of six frames, which is a word.
    _joiner(folder, np.array([[1.0, 0.0, 0.0]], np.float32), np.array([[0.0, 0.5, 0.0]], np.float32))
    (folder / "tokens.txt").write_text("<blk> 0\n▁tick 1\n<unk> 2\n", encoding="utf-8")
    return {role: f"{role}.onnx" for role in ("encoder", "decoder", "joiner")} | {"tokens": "tokens.txt"}


def _decoder(folder: Path, tokens: int) -> None:
    """A transducer's, which is not listened to."""
    nodes = [
        helper.make_node("Cast", ["y"], ["last"], to=FLOAT),
        helper.make_node("ReduceMean", ["last"], ["decoder_out"], axes=[1], keepdims=1),
    ]
    inputs, outputs = [_value("y", INT64, [None, 2])], [_value("decoder_out", FLOAT, [None, 1])]
    _save(folder / "decoder.onnx", nodes, inputs, outputs, {}, {"context_size": 2, "vocab_size": tokens})


def _joiner(folder: Path, weight: np.ndarray, bias: np.ndarray) -> None:
    """A transducer's: logits that are linear in the encoder's number."""
    nodes = [
        helper.make_node("Mul", ["decoder_out", "naught"], ["ignored"]),
        helper.make_node("Add", ["encoder_out", "ignored"], ["number"]),
        helper.make_node("Mul", ["number", "weight"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logit"]),
    ]
    inputs = [_value("encoder_out", FLOAT, [None, 1]), _value("decoder_out", FLOAT, [None, 1])]
    outputs = [_value("logit", FLOAT, [None, weight.shape[1]])]
    constants = {"naught": np.array(0, np.float32), "weight": weight, "bias": bias}
    _save(folder / "joiner.onnx", nodes, inputs, outputs, constants, {"joiner_dim": 1})


def streaming(folder: Path) -> dict[str, str]:
    """The files of a streaming Zipformer by their roles: a word for each chunk of sound (0.32 seconds), which says what place
    it has in its stream."""
    layer = {  # the state of its only layer, of the shapes that sherpa-onnx makes of the metadata
        "key": [4, 1, 4],
        "nonlin_attn": [1, 1, 4, 3],
        "val1": [4, 1, 4],
        "val2": [4, 1, 4],
        "conv1": [1, 4, 1],
        "conv2": [1, 4, 1],
        "embed": [1, 128, 3, 19],
    }
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["level"], axes=[1, 2], keepdims=1),
        helper.make_node("Greater", ["level", "quiet"], ["loud"]),
        helper.make_node("Cast", ["loud"], ["sound"], to=FLOAT),
        helper.make_node("Mod", ["processed_lens", "words"], ["place"]),
        helper.make_node("Add", ["place", "one"], ["number"]),
        helper.make_node("Cast", ["number"], ["word"], to=FLOAT),
        helper.make_node("Mul", ["sound", "word"], ["encoder_out"]),
        helper.make_node("Add", ["processed_lens", "one"], ["new_processed_lens"]),
        *(helper.make_node("Identity", [name], [f"new_{name}"]) for name in layer),
    ]
    states = [_value(name, FLOAT, shape) for name, shape in layer.items()]
    _save(
        folder / "encoder.onnx",
        nodes,
        [_value("x", FLOAT, [1, 45, 80]), *states, _value("processed_lens", INT64, [1])],
        [
            _value("encoder_out", FLOAT, [1, 1, 1]),
            *(_value(f"new_{name}", FLOAT, shape) for name, shape in layer.items()),
            _value("new_processed_lens", INT64, [1]),
        ],
        {"quiet": np.array(-9, np.float32), "words": np.array(3, np.int64), "one": np.array(1, np.int64)},
        {
            "model_type": "zipformer2",
            "encoder_dims": 4,
            "query_head_dims": 4,
            "value_head_dims": 4,
            "num_heads": 1,
            "num_encoder_layers": 1,
            "cnn_module_kernels": 3,
            "left_context_len": 4,
            "T": 45,
            "decode_chunk_len": 32,
        },
    )
    _decoder(folder, 5)
    # The number that the encoder gives is the token's: the logits are largest there, with 0 for a blank.
    numbers = np.arange(5, dtype=np.float32).reshape(1, 5)
    _joiner(folder, 2 * numbers, -(numbers**2))
    (folder / "tokens.txt").write_text("<blk> 0\n▁one 1\n▁two 2\n▁three 3\n<unk> 4\n", encoding="utf-8")
    return {role: f"{role}.onnx" for role in ("encoder", "decoder", "joiner")} | {"tokens": "tokens.txt"}


def install(store: Store, name: str, family: str, files: Mapping[str, str], folder: Path, languages: Sequence[str]) -> None:
    """The model in the store, as a folder of parts."""
    digests = {part: digest_of(folder / part) for part in files.values()}
    manifest = Manifest(
        name=name,
        task="transcription",
        engine="sherpa-onnx",
        files=tuple(File("part", part, digest, (folder / part).stat().st_size) for part, digest in digests.items()),
        source="test",
        license=None,
        created=0,
        options={"family": family, "files": dict(files), "languages": list(languages), "memory_bytes": 256 * 2**20},
    )
    store.install(manifest, {digest: folder / part for part, digest in digests.items()})


def _value(name: str, kind: int, shape: Sequence[int | None]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _save(
    path: Path, nodes: Any, inputs: Any, outputs: Any, constants: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    held = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "ears", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {name: str(value) for name, value in metadata.items()})
    onnx.save(model, path)
