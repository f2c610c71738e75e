"""What both parts of the network compute with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freehold.workers.pictogram.weights import Array

_EPSILON = float(np.finfo(np.float32).eps)


def linear(weights: Mapping[str, Array], x: Array, name: str) -> Array:
    weight = weights[f"{name}.weight"]
    out: Array = (x.reshape(-1, x.shape[-1]) @ weight.T).reshape(*x.shape[:-1], len(weight))
    bias = weights.get(f"{name}.bias")
    return out if bias is None else out + bias


def normal(x: Array) -> Array:
    found: Array = x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + _EPSILON)
    return found


def gelu(x: Array) -> Array:
    found: Array = 0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)))
    return found


def silu(x: Array) -> Array:
    found: Array = x / (1 + np.exp(-x))
    return found
