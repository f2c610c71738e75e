"""Pictures as numbers and back: [128, 128, 4] of 0 to 1, with colours multiplied by their opacity."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from freehold.workers.images.canvas import flat
from freehold.workers.pictogram.code import SIDE
from freehold.workers.pictogram.weights import Array

Colour = tuple[int, int, int]

_ACROSS = 8  # squares of a side
_WHITE: Colour = (255, 255, 255)
_NEAR = 20  # of 255, how far a ground's pixels may be from its colour
_MOST_OF_EDGE = 0.6


def numbers(image: Image.Image) -> Array:
    """Of a picture of any size, stretched to the square that is drawn."""
    multiplied = image.convert("RGBA").convert("RGBa").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(multiplied, np.float32) / 255


def shown(drawn: Array) -> Image.Image:
    """RGBA. A picture in the making may have any numbers."""
    opacity = drawn[..., 3:].clip(0, 1)
    colours = (drawn[..., :3] / np.maximum(opacity, 1 / 255)).clip(0, 1)
    return Image.fromarray((np.concatenate([colours, opacity], -1) * 255).round().astype(np.uint8))


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Colours of what is transparent do not bleed into the rest."""
    if image.size == size:
        return image
    if image.mode != "RGBA":
        return image.resize(size, Image.Resampling.LANCZOS)
    return image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def placed(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A square picture in the middle of one of that size, as large as it fits."""
    side = min(size)
    ground = Image.new("RGBA", size, (0, 0, 0, 0))
    ground.paste(resized(image, (side, side)), ((size[0] - side) // 2, (size[1] - side) // 2))
    return ground


def grounded(image: Image.Image, background: str, colour: Colour = _WHITE) -> Image.Image:
    """On a ground of that colour, unless it is to be transparent."""
    if background == "transparent":
        return image.convert("RGBA")
    if colour != _WHITE and image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, colour), image)
    return flat(image)


def lifted(image: Image.Image) -> tuple[Image.Image, Colour]:
    """Things on a ground of one colour as things on none, as all that is drawn stands; and the colour. Another picture as it
    is.

    The ground is what has the colour of most of the edge, as far as it reaches from there.
    """
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        return image, _WHITE
    small = image.convert("RGB").resize((2 * SIDE, 2 * SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(small, np.int16)
    rim = np.zeros(pixels.shape[:2], bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    ground = np.median(pixels[rim], 0)
    alike = np.abs(pixels - ground).max(-1) <= _NEAR
    if alike[rim].mean() < _MOST_OF_EDGE:
        return image, _WHITE
    small.putalpha(Image.fromarray(np.where(_reached(rim & alike, alike), np.uint8(0), np.uint8(255))))
    red, green, blue = (int(value) for value in ground)
    return small, (red, green, blue)


def _reached(start: np.ndarray[Any, Any], where: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """All that can be come to from `start` by steps up, down and sideways within `where`."""
    found = start
    while True:
        wide = np.pad(found, 1)
        grown = (wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]) & where
        if (grown == found).all():
            return found
        found = grown


def untouched(hole: Image.Image) -> Array:
    """Which of the 64 squares no part of the hole is in; it is white in the mask, of any size."""
    wide = np.asarray(hole.resize((SIDE, SIDE), Image.Resampling.BOX))
    return ~wide.reshape(_ACROSS, SIDE // _ACROSS, _ACROSS, SIDE // _ACROSS).any((1, 3)).reshape(-1)
