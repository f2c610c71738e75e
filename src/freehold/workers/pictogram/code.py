"""Between pictures and latents: a picture's 8 x 8 squares of 16 x 16 pixels, each written in 64 numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freehold.workers.pictogram.maths import gelu
from freehold.workers.pictogram.network import NUMBERS, SQUARES
from freehold.workers.pictogram.weights import Array, Unfit

SIDE = 128
_ACROSS, _EDGE = 8, 16


class Code:
    def __init__(self, weights: Mapping[str, Array]):
        """Raises Unfit where a weight is missing or has another shape."""
        self._w = weights
        expected = {
            "code.mean": (1024,),
            "code.basis": (1024, NUMBERS),
            "code.scale": (NUMBERS,),
            "plain.weight": (1024, NUMBERS),
        }
        if any(name not in weights or weights[name].shape != shape for name, shape in expected.items()):
            raise Unfit("the weights of its decoder have other shapes than this version knows")

    def encode(self, picture: Array) -> Array:
        """[128, 128, 4] of 0 to 1, premultiplied, to [64, 64]."""
        cut = picture.reshape(_ACROSS, _EDGE, _ACROSS, _EDGE, 4).transpose(0, 2, 1, 3, 4).reshape(SQUARES, -1)
        found: Array = (cut - self._w["code.mean"]) @ self._w["code.basis"] / self._w["code.scale"]
        return found

    def decode(self, latents: Array) -> Array:
        """[64, 64] to [128, 128, 4] of 0 to 1, premultiplied."""
        around = gelu(self._convolved(latents.reshape(_ACROSS, _ACROSS, NUMBERS), "around")).reshape(SQUARES, -1)
        w = self._w
        cut = latents @ w["plain.weight"].T + w["plain.bias"] + around @ w["more.weight"].T + w["more.bias"]
        whole: Array = cut.reshape(_ACROSS, _ACROSS, _EDGE, _EDGE, 4).transpose(0, 2, 1, 3, 4).reshape(SIDE, SIDE, 4)
        whole = (whole + self._convolved(gelu(self._convolved(whole, "fine")), "edge")).clip(0, 1)
        whole[..., :3] = np.minimum(whole[..., :3], whole[..., 3:])
        return whole

    def _convolved(self, x: Array, name: str) -> Array:
        """A convolution of 3 x 3 over [height, width, channels]; its weight is [out, 9 * channels], rows first."""
        height, width, channels = x.shape
        wide = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        windows = np.concatenate([wide[i : i + height, j : j + width] for i in range(3) for j in range(3)], -1)
        found: Array = (windows.reshape(-1, 9 * channels) @ self._w[f"{name}.weight"].T + self._w[f"{name}.bias"]).reshape(
            height, width, -1
        )
        return found
