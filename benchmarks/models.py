"""Model files of a chosen size with nothing in them: what an engine allocates depends on the shape, not on the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np


@dataclass(frozen=True)
class Build:
    """A decoder to write. `kind` is the type of its matrices, `window` that of a sliding window, `experts` (count, width)."""

    name: str
    architecture: str
    blocks: int
    embedding: int
    heads: int
    kv_heads: int
    head_length: int
    feed_forward: int
    vocab: int
    kind: str = "Q8_0"
    tied: bool = False
    context: int = 32_768
    window: int = 0
    experts: tuple[int, int] = (0, 0)
    more: Mapping[str, Any] = field(default_factory=dict)


def write(build: Build, folder: Path) -> Path:
    """The model's file, which is written once."""
    path = folder / f"{build.name}.gguf"
    if path.exists():
        return path
    writer = gguf.GGUFWriter(path, build.architecture)
    for key, value in _keys(build).items():
        (writer.add_uint32 if isinstance(value, int) else writer.add_float32)(f"{build.architecture}.{key}", value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"token {number}" for number in range(build.vocab)])
    writer.add_token_types([gguf.TokenType.NORMAL] * build.vocab)
    writer.add_token_merges([f"a{number} b{number}" for number in range(build.vocab - 300)])
    writer.add_eos_token_id(build.vocab - 1)
    for name, shape in _tensors(build):
        _add(writer, name, shape, build.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _keys(build: Build) -> dict[str, Any]:
    keys = {
        "context_length": build.context,
        "embedding_length": build.embedding,
        "block_count": build.blocks,
        "feed_forward_length": build.feed_forward,
        "attention.head_count": build.heads,
        "attention.head_count_kv": build.kv_heads,
        "attention.key_length": build.head_length,
        "attention.value_length": build.head_length,
        "rope.dimension_count": build.head_length,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    if build.window:
        keys["attention.sliding_window"] = build.window
    if build.experts[0]:
        keys |= {"expert_count": build.experts[0], "expert_used_count": 4, "expert_feed_forward_length": build.experts[1]}
    return keys | dict(build.more)


def _tensors(build: Build) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes, the fastest dimension first."""
    wide, narrow = build.heads * build.head_length, build.kv_heads * build.head_length
    yield "token_embd.weight", (build.embedding, build.vocab)
    for block in range(build.blocks):
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (build.embedding,),
            "attn_q": (build.embedding, wide),
            "attn_k": (build.embedding, narrow),
            "attn_v": (build.embedding, narrow),
            "attn_output": (wide, build.embedding),
            "ffn_norm": (build.embedding,),
        }
        if build.architecture.startswith(("qwen3", "gemma3")):
            parts |= {"attn_q_norm": (build.head_length,), "attn_k_norm": (build.head_length,)}
        if build.architecture == "gemma3":
            parts |= {"post_attention_norm": (build.embedding,), "post_ffw_norm": (build.embedding,)}
        parts |= _feed_forward(build)
        for name, shape in parts.items():
            yield f"blk.{block}.{name}.weight", shape
    yield "output_norm.weight", (build.embedding,)
    if not build.tied:
        yield "output.weight", (build.embedding, build.vocab)


def _feed_forward(build: Build) -> dict[str, tuple[int, ...]]:
    count, width = build.experts
    if not count:
        pairs = {"gate": (build.embedding, build.feed_forward), "up": (build.embedding, build.feed_forward)}
        return {f"ffn_{name}": shape for name, shape in pairs.items()} | {"ffn_down": (build.feed_forward, build.embedding)}
    return {
        "ffn_gate_inp": (build.embedding, count),
        "ffn_gate_exps": (build.embedding, width, count),
        "ffn_up_exps": (build.embedding, width, count),
        "ffn_down_exps": (width, build.embedding, count),
    }


def _add(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], kind: str) -> None:
    if "ffn_gate_inp" in name:  # routers that choose, so that every expert is read
        writer.add_tensor(name, np.random.default_rng(1).standard_normal(shape[::-1], dtype=np.float32))
        return
    if len(shape) == 1:
        writer.add_tensor(name, np.ones(shape[::-1], dtype=np.float32))
        return
    quantisation = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[quantisation]
    raw = np.zeros((*shape[:0:-1], shape[0] // block * size), dtype=np.uint8)
    if name.startswith("token_embd"):
        tile = np.random.default_rng(2).standard_normal((64, shape[0]), dtype=np.float32)
        rows = gguf.quants.quantize(tile, quantisation).view(np.uint8)
        raw = np.tile(rows, (-(-shape[1] // 64), 1))[: shape[1]]
    if kind == "F16":
        writer.add_tensor(name, raw.view(np.float16))
    else:
        writer.add_tensor(name, raw, raw_dtype=quantisation)
