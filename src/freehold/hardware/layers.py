"""A model's blocks: what each holds in weights, and what it keeps of every token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from freehold.hardware.attention import kept_by
from freehold.hardware.gguf import TensorInfo

_BLOCK = re.compile(r"(?:enc\.|dec\.)?blk\.(\d+)\.")
_EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")  # as the engine tells them; LLM_FFN_EXPS_REGEX
_INPUT = ("token_embd", "position_embd", "token_types", "per_layer_token_embd")


@dataclass(frozen=True)
class Layer:
    """One block. `weights` are its bytes outside routed experts, `experts` those of its routed experts (0 in a dense block).

    Attention keeps `kv_heads` × (`key_length` + `value_length`) elements a token: of all tokens, or with a `window` of the last
    that many. Latent attention (MLA) keeps one head of keys and no values. A recurrent block keeps `state` bytes a sequence,
    however long that is.
    """

    weights: int
    experts: int = 0
    kv_heads: int = 0
    key_length: int = 0
    value_length: int = 0
    window: int = 0
    state: int = 0

    @property
    def size(self) -> int:
        return self.weights + self.experts


@dataclass(frozen=True)
class Anatomy:
    """A file's bytes by where they go: its blocks in order, and what stands before and behind them.

    With `tied` the output is the token embedding, counted in both.
    """

    layers: tuple[Layer, ...]
    input_bytes: int
    output_bytes: int
    tied: bool


def anatomy(metadata: Mapping[str, Any], tensors: Iterable[TensorInfo]) -> Anatomy:
    """Sorts the tensors of a file, or of all parts of one. Blocks that the engine does not load count nothing."""
    kept = kept_by(metadata)
    architecture = metadata.get("general.architecture")
    ahead = metadata.get(f"{architecture}.nextn_predict_layers", 0)
    run = len(kept) - (ahead if type(ahead) is int else 0)
    dense, experts = [0] * len(kept), [0] * len(kept)
    first = last = embedding = 0
    has_output = False
    for tensor in tensors:
        if block := _BLOCK.match(tensor.name):
            index = int(block[1])
            if index < run:
                (experts if _EXPERTS.search(tensor.name) else dense)[index] += tensor.nbytes
        elif tensor.name.startswith(_INPUT):
            first += tensor.nbytes
            embedding += tensor.nbytes if tensor.name == "token_embd.weight" else 0
        else:
            last += tensor.nbytes
            has_output = has_output or tensor.name == "output.weight"
    tied = not has_output and any(item.kv_heads or item.state for item in kept)
    layers = tuple(Layer(*sizes, **asdict(item)) for *sizes, item in zip(dense, experts, kept, strict=True))
    return Anatomy(layers, first, last + (embedding if tied else 0), tied)
