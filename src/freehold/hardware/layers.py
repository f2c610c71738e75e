"""A model's blocks: what each holds in weights, and what it keeps of every token."""

from __future__ import annotations

from dataclasses import dataclass


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
