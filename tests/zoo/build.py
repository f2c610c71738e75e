"""Writes GGUF files of any shape, with random weights that are the same on every machine."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, LlamaFileType

from tests.zoo.tokenizers import Tokenizer

Sizes = tuple[int, ...]
Kind = Literal["F32", "F16", "BF16", "Q8_0", "Q4_0"]

_FILE_TYPES = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "BF16": LlamaFileType.MOSTLY_BF16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
}
# what llama.cpp wants in full precision: its kernels for these take nothing else
_EXACT = ("norm", "ssm_conv1d", "shortconv.conv", "ssm_a", "ssm_d", "ffn_gate_inp", "position_embd", "token_types", "rope_")


@dataclass(frozen=True)
class Shape:
    """A model to be written. `keys` are metadata below the architecture's name; `tensors` have GGUF's order of dimensions,
    the fastest first, which is also that of llama.cpp's sources."""

    name: str
    arch: str
    keys: Mapping[str, Any]
    tensors: Mapping[str, Sizes]
    tokenizer: Tokenizer | None = None
    template: str | None = None
    kind: Kind = "F32"
    parts: int = 1
    task: Literal["chat", "embedding", "rerank"] = "chat"
    general: Mapping[str, Any] = field(default_factory=dict)


def write(shape: Shape, folder: Path) -> Path:
    """The file of a shape in `folder`, or the first of its parts."""
    path = folder / f"{shape.name}.gguf"
    many = -(-len(shape.tensors) // shape.parts) if shape.parts > 1 else 0
    writer = gguf.GGUFWriter(path, shape.arch, split_max_tensors=many)
    writer.add_name(shape.name)
    writer.add_file_type(_FILE_TYPES[shape.kind])
    for key, value in shape.general.items():
        _add(writer, key, value)
    for key, value in shape.keys.items():
        _add(writer, f"{shape.arch}.{key}", value)
    if shape.tokenizer is not None:
        shape.tokenizer.add_to(writer)
    if shape.template is not None:
        writer.add_chat_template(shape.template)
    for name, sizes in shape.tensors.items():
        _add_tensor(writer, name, sizes, shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if shape.parts == 1 else folder / f"{shape.name}-00001-of-{shape.parts:05}.gguf"


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def _add_tensor(writer: gguf.GGUFWriter, name: str, sizes: Sizes, shape: Shape) -> None:
    data = values(name, sizes, seed=zlib.crc32(f"{shape.name}/{name}".encode()))
    kind = GGMLQuantizationType[shape.kind]
    if len(sizes) < 2 or any(part in name for part in _EXACT) or kind == GGMLQuantizationType.F32:
        writer.add_tensor(name, data)
    elif kind == GGMLQuantizationType.F16:
        writer.add_tensor(name, data.astype(np.float16))
    else:
        block = gguf.GGML_QUANT_SIZES[kind][0]
        assert sizes[0] % block == 0, f"{name} has rows of {sizes[0]}, which are not made of blocks of {block}"
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)


def values(name: str, sizes: Sizes, seed: int) -> npt.NDArray[np.float32]:
    """Weights that keep activations finite: norms are near one, matrices scaled by their width, decays negative."""
    noise = np.random.default_rng(seed).standard_normal(sizes[::-1], dtype=np.float32)
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.1 * noise
    if name.endswith("ssm_a"):
        return -np.exp(0.5 * noise)
    if name.startswith("rope_"):
        return 1 + np.abs(noise)
    if len(sizes) == 1:
        return 0.1 * noise
    if name == "token_embd.weight":
        return noise
    return noise * np.float32(1.5 / math.sqrt(sizes[0]))
