"""Files that are well-formed GGUF, and yet no engine can load them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.zoo.build import Shape, Sizes
from tests.zoo.shapes import zoo


@dataclass(frozen=True)
class Broken:
    """A shape and the word of the engine's reason that a person needs to see."""

    shape: Shape
    reason: str


def broken() -> list[Broken]:
    good = {shape.name: shape for shape in zoo()}
    llama, moe = good["llama-gqa"], good["qwen3-moe"]
    return [
        Broken(_without(llama, "a-tensor-is-missing", "blk.1.ffn_down.weight"), "blk.1.ffn_down.weight"),
        Broken(_resized(llama, "a-tensor-has-another-shape", "blk.0.attn_k.weight", (64, 48)), "blk.0.attn_k.weight"),
        Broken(_named(llama, "an-unknown-architecture", "llama-of-tomorrow"), "llama-of-tomorrow"),
        Broken(_tokenized(llama, "an-unknown-tokenizer", model="runes"), "runes"),
        Broken(_tokenized(llama, "an-unknown-pre-tokenizer", pre="runes"), "runes"),
        Broken(_keyed(llama, "more-blocks-than-tensors", block_count=3), "blk.2"),
        Broken(_keyed(llama, "no-norm", **{"attention.layer_norm_rms_epsilon": None}), "layer_norm_rms_epsilon"),
        Broken(_keyed(moe, "more-experts-used-than-there-are", expert_used_count=8), "expert"),
        Broken(_keyed(llama, "a-scaling-of-no-kind", **{"rope.scaling.type": "crystal"}), "rope"),
    ]


def _named(shape: Shape, name: str, arch: str) -> Shape:
    return replace(shape, name=name, arch=arch)


def _keyed(shape: Shape, name: str, **changes: Any) -> Shape:
    keys = {key: value for key, value in (shape.keys | changes).items() if value is not None}
    return replace(shape, name=name, keys=keys)


def _tokenized(shape: Shape, name: str, **changes: Any) -> Shape:
    assert shape.tokenizer is not None
    return replace(shape, name=name, tokenizer=replace(shape.tokenizer, **changes))


def _without(shape: Shape, name: str, tensor: str) -> Shape:
    return replace(shape, name=name, tensors={key: sizes for key, sizes in shape.tensors.items() if key != tensor})


def _resized(shape: Shape, name: str, tensor: str, sizes: Sizes) -> Shape:
    return replace(shape, name=name, tensors=dict(shape.tensors) | {tensor: sizes})
