"""Pictures as numbers and back: [128, 128, 4] of 0 to 1, with colours multiplied by their opacity."""

from __future__ import annotations

import numpy as np
from PIL import Image

from freehold.workers.images.canvas import flat
from freehold.workers.pictogram.code import SIDE
from freehold.workers.pictogram.weights import Array

_ACROSS = 8  # squares of a side


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


def grounded(image: Image.Image, background: str) -> Image.Image:
    """On white, unless it is to be transparent."""
    return image.convert("RGBA") if background == "transparent" else flat(image)


def untouched(hole: Image.Image) -> Array:
    """Which of the 64 squares no part of the hole is in; it is white in the mask, of any size."""
    wide = np.asarray(hole.resize((SIDE, SIDE), Image.Resampling.BOX))
    return ~wide.reshape(_ACROSS, SIDE // _ACROSS, _ACROSS, SIDE // _ACROSS).any((1, 3)).reshape(-1)
