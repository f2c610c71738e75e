"""Pictures in and out: decoding what a client sends, masks, sizes, and the formats of the answer."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from freehold.workers.serve import Refused

_FORMATS = ("PNG", "JPEG", "WEBP")
_LONGEST = 8  # times the usual side: no model draws hairlines
_OPAQUE = 128  # alpha from which a mask keeps a pixel


def decoded(data: bytes, most_pixels: int, param: str) -> Image.Image:
    """A picture as it is meant to be seen: turned by its EXIF, RGB or RGBA. Its size is looked at before its pixels are.

    Raises Refused for what is no picture, is broken, or is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > most_pixels:
                    raise Refused(
                        f"The picture has {width} x {height} pixels; at most {most_pixels:,} are taken "
                        "(setting `images.pixels`).",
                        param=param,
                        code="image_too_large",
                    )
                image.load()
                turned = ImageOps.exif_transpose(image)
                alpha = "A" in turned.getbands() or "transparency" in turned.info
                return turned.convert("RGBA" if alpha else "RGB")
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused("The picture is far too large.", param=param, code="image_too_large") from None
    except Exception:  # noqa: BLE001 - decoders of hostile files raise anything
        raise Refused("The file is no PNG, JPEG or WebP picture, or is damaged.", param=param, code="invalid_image") from None


def flat(image: Image.Image) -> Image.Image:
    """Without transparency: what shines through is white."""
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def hole(mask: Image.Image, image: Image.Image) -> Image.Image:
    """Where to draw: white where the mask is transparent. Raises Refused for a mask of another size, or an opaque one."""
    if mask.size != image.size:
        raise Refused(
            f"The mask has {mask.width} x {mask.height} pixels, and the picture {image.width} x {image.height}; "
            "they must be the same.",
            param="mask",
            code="invalid_mask",
        )
    if mask.mode != "RGBA":
        raise Refused("The mask has no transparency; its transparent parts are drawn anew.", param="mask", code="invalid_mask")
    open_ = mask.getchannel("A").point(lambda alpha: 0 if alpha >= _OPAQUE else 255)
    if open_.getextrema()[1] == 0:
        raise Refused("The mask is opaque everywhere: nothing would be drawn.", param="mask", code="invalid_mask")
    return open_


@dataclass(frozen=True)
class Grid:
    """The sizes that a model draws: sides are multiples of `multiple`, its usual one is `side` by `side`."""

    side: int
    multiple: int

    @property
    def least(self) -> int:
        return max(self.multiple, min(64, self.side))

    @property
    def most_pixels(self) -> int:
        return max(2 * self.side * self.side, 1792 * 1024)

    def check(self, width: int, height: int) -> tuple[int, int]:
        """Raises Refused, naming the nearest size that there is."""
        near = self.near(width, height)
        if near != (width, height):
            raise Refused(
                f"This model does not draw {width}x{height}: sides are multiples of {self.multiple}, {self.least} to "
                f"{_LONGEST * self.side} pixels, and at most {self.most_pixels:,} in all. The nearest is {near[0]}x{near[1]}.",
                param="size",
            )
        return near

    def near(self, width: int, height: int) -> tuple[int, int]:
        """The nearest size that the model draws, of about the same shape."""
        shrink = min(1.0, (self.most_pixels / (width * height)) ** 0.5)
        width, height = (self._near(side * shrink) for side in (width, height))
        while width * height > self.most_pixels:
            width, height = (width - self.multiple, height) if width >= height else (width, height - self.multiple)
        return width, height

    def _near(self, side: float) -> int:
        multiple = self.multiple
        least, most = -(-self.least // multiple) * multiple, _LONGEST * self.side // multiple * multiple
        return min(most, max(least, round(side / multiple) * multiple))


def picture(pixels: np.ndarray) -> Image.Image:
    """A picture of height x width x 3 numbers from 0 to 1. Raises Refused where they are none: numbers that overflowed on their
    way give a black picture, or none at all."""
    if not np.isfinite(pixels).all() or not pixels.any():
        raise Refused(
            "The model drew nothing: its numbers overflowed. Try another seed or size.", code="bad_picture", status=500
        )
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype("uint8"))


def encoded(image: Image.Image, form: str, compression: int) -> bytes:
    """`compression` is the percentage of jpeg's and webp's quality that OpenAI calls output_compression."""
    out = io.BytesIO()
    match form:
        case "jpeg":
            image.convert("RGB").save(out, "JPEG", quality=max(1, compression), optimize=True)
        case "webp":
            image.save(out, "WEBP", quality=max(1, compression))
        case _:
            image.save(out, "PNG", compress_level=4)
    return out.getvalue()
