"""The drawing network, computed with numpy: what it foresees in a noisy picture, told what the picture shows.

It is a transformer over the 8 x 8 squares of a picture, each written in 64 numbers. `training/pictogram/model.py` is the same
in torch, and says why it is built so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freehold.workers.pictogram.canvas import Canvas
from freehold.workers.pictogram.maths import gelu, linear, normal, silu
from freehold.workers.pictogram.weights import Array, Unfit

SQUARES, NUMBERS, WORDS = 64, 64, 12
_TEXT = 384  # numbers of a vector of the text model


@dataclass(frozen=True)
class Told:
    """What a caption tells the network: `sentence` [b, 384] and `words` [b, 12, 384] are vectors of length one, as the text
    model gives them; `given` [b, 12] is 1 where there is a word. No word at all is no caption."""

    sentence: Array
    words: Array
    given: Array


@dataclass(frozen=True)
class Heard:
    """A caption as the blocks take it: once for all steps. `keys` and `values` are those of its words, for each block."""

    about: Array
    canvas: Array
    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    absent: Array


class Network:
    def __init__(self, weights: Mapping[str, Array]):
        """Raises Unfit where a weight is missing or has another shape."""
        self._w, self._canvas = weights, Canvas(weights)
        self._blocks = sum(name.endswith(".qkv.weight") for name in weights)
        try:
            self._heads = weights["blocks.0.gain"].shape[2]
            self.width = weights["enter.weight"].shape[0]
            if any(weights[name].shape != shape for name, shape in self._expected().items()):
                raise Unfit("its weights have other shapes than this version knows")
        except (KeyError, IndexError):
            raise Unfit("some of its weights are missing") from None

    def _expected(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights that lie between the parts."""
        width = self.width // self._heads * self._heads
        return {
            "canvas.halved": (4 * NUMBERS, NUMBERS),
            "canvas.order": (WORDS, 128),
            "nothing": (_TEXT,),
            "words.matrix": (_TEXT, _TEXT),
            "sentences.matrix": (_TEXT, _TEXT),
            "enter.weight": (width, NUMBERS),
            "place": (SQUARES, width),
            "word.weight": (width, _TEXT),
            "order": (WORDS, width),
            "paint.weight": (width, NUMBERS),
            "leave.weight": (NUMBERS, width),
        }

    def hear(self, told: Told) -> Heard:
        asked = told.given[:, :1]
        sentence = self._whitened(told.sentence, "sentences") * asked + self._w["nothing"] * (1 - asked)
        words = self._whitened(told.words, "words") * told.given[..., None]
        count = len(sentence)
        canvas = self._canvas.first(sentence, words, told.given)
        start = np.broadcast_to(self._w["start"], (count, 1, self.width))
        spoken = normal(np.concatenate([start, linear(self._w, words, "word") + self._w["order"]], 1))
        pairs = [self._split(linear(self._w, spoken, f"blocks.{i}.told"), 2) for i in range(self._blocks)]
        absent = (np.concatenate([np.ones_like(asked), told.given], 1) - 1)[:, None, None] * np.float32(1e4)
        keys = tuple(normal(key) for key, _ in pairs)
        return Heard(linear(self._w, sentence, "about"), canvas, keys, tuple(value for _, value in pairs), absent)

    def foresee(self, noisy: Array, time: float, heard: Heard) -> Array:
        """The picture [b, 64, 64] foreseen in `noisy` at `time`, from 0 for noise to 1 for the picture."""
        angles = np.float32(time) * np.exp(np.linspace(0, 6, 32, dtype=np.float32))
        moment = np.concatenate([np.sin(angles), np.cos(angles)])[None]
        when = linear(self._w, silu(linear(self._w, moment, "when.0")), "when.2")
        about = silu(when + heard.about)
        x = linear(self._w, noisy, "enter") + self._w["place"] + linear(self._w, heard.canvas, "paint")
        for i in range(self._blocks):
            x = self._block(x, i, about, heard)
        return linear(self._w, normal(x), "leave") + heard.canvas

    def _block(self, x: Array, i: int, about: Array, heard: Heard) -> Array:
        at, count = f"blocks.{i}.", len(x)
        gain = self._w[at + "gain"]
        shift, scale, gate, shift2, scale2, gate2 = np.split(linear(self._w, about, at + "tune")[:, None], 6, -1)
        query, key, value = self._split(linear(self._w, normal(x) * (1 + scale) + shift, at + "qkv"), 3)
        mixed = _attend(normal(query) * gain[0], normal(key), value)
        x = x + (1 + gate) * linear(self._w, mixed.transpose(0, 2, 1, 3).reshape(count, SQUARES, -1), at + "out")
        (query,) = self._split(linear(self._w, normal(x), at + "ask"), 1)
        mixed = _attend(normal(query) * gain[1], heard.keys[i], heard.values[i], heard.absent)
        x = x + linear(self._w, mixed.transpose(0, 2, 1, 3).reshape(count, SQUARES, -1), at + "heard")
        wide = gelu(linear(self._w, normal(x) * (1 + scale2) + shift2, at + "up"))
        found: Array = x + (1 + gate2) * linear(self._w, wide, at + "down")
        return found

    def _whitened(self, vectors: Array, name: str) -> Array:
        found: Array = (vectors - self._w[f"{name}.mean"]) @ self._w[f"{name}.matrix"]
        return found

    def _split(self, x: Array, parts: int) -> list[Array]:
        shape = (*x.shape[:2], parts, self._heads, self.width // self._heads)
        return list(x.reshape(shape).transpose(2, 0, 3, 1, 4))


def _attend(query: Array, key: Array, value: Array, absent: Array | None = None) -> Array:
    scores = query @ key.swapaxes(-1, -2) * np.float32(query.shape[-1] ** -0.5)
    if absent is not None:
        scores = scores + absent
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    found: Array = (weights / weights.sum(-1, keepdims=True)) @ value
    return found
