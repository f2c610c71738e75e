"""The first idea of a picture: what one thing, and another, that a caption speaks of look like, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freehold.workers.pictogram.maths import gelu, linear, normal
from freehold.workers.pictogram.weights import Array

PLACES = ((2, 2), (2, 0), (2, 4), (0, 2), (4, 0), (4, 4))  # of a thing of half size: row and column of its first square
_LOOKS = 4  # at the words, two for each thing


class Canvas:
    def __init__(self, weights: Mapping[str, Array]):
        self._w = {name.removeprefix("canvas."): value for name, value in weights.items() if name.startswith("canvas.")}

    def first(self, sentence: Array, words: Array, given: Array) -> Array:
        """Latents [b, 64, 64] of whitened vectors [b, 384] and [b, 12, 384]; words that are not given are zero."""
        chosen, gates = self._chosen(sentence, words, given)
        things = self._things(chosen)
        mixed = np.einsum("btp,btyxn->bpyxn", gates, things)
        whole = mixed[:, 0] + mixed[:, 1, :, ::-1] @ self._w["turned"]
        four = mixed[:, 2:].reshape(len(mixed), -1, 4, 2, 4, 2, mixed.shape[-1]).swapaxes(3, 4)
        small = four.reshape(*four.shape[:4], -1) @ self._w["halved"]
        for i, (row, column) in enumerate(PLACES):
            whole[:, row : row + 4, column : column + 4] += small[:, i]
        found: Array = (whole + self._w["empty"]).reshape(len(whole), 64, -1)
        return found

    def _chosen(self, sentence: Array, words: Array, given: Array) -> tuple[Array, Array]:
        """For two things the vectors that say what they are [b, 2, 3 * 384], and how much of each stands where [b, 2, 8]."""
        b, n, _ = words.shape
        each = words / np.maximum(given.sum(1), 1)[:, None, None]
        drift = np.linspace(-1, 1, n, dtype=np.float32)[:, None]
        said = np.concatenate([sentence, each.sum(1), (each * drift).sum(1) * 2], -1)
        context = gelu(linear(self._w, said, "context"))
        keys = (linear(self._w, words, "key") + self._w["order"]).reshape(b, n, _LOOKS, -1).swapaxes(1, 2)
        query = linear(self._w, context, "query").reshape(b, _LOOKS, -1, 1)
        scores = (keys @ query)[..., 0] * np.float32(keys.shape[-1] ** -0.5) + (given - 1)[:, None] * np.float32(1e4)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        picked = (weights / weights.sum(-1, keepdims=True) @ words).reshape(b, 2, -1)
        whole = _sigmoid(linear(self._w, context, "whole"))[..., None] * sentence[:, None]
        return np.concatenate([whole, picked], -1), _sigmoid(linear(self._w, context, "gates")).reshape(b, 2, -1)

    def _things(self, chosen: Array) -> Array:
        """What is said of things [b, 2, 3 * 384] as pictures [b, 2, 8, 8, 64], less the empty one."""
        x = gelu(linear(self._w, chosen, "idea"))
        gate, value = np.split(linear(self._w, normal(x), "think"), 2, -1)
        x = normal(x + linear(self._w, gelu(gate) * value, "thought"))
        return linear(self._w, x, "unfold").reshape(len(x), 2, 8, 8, -1)


def _sigmoid(x: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-x))
    return found
