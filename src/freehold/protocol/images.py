"""Images in a request: what is checked before an engine sees them.

They come inside the request, as data: URIs (RFC 2397), or were fetched and became ones. Only headers are read, by the one
parser of the format that the first bytes tell, and what a parser says of a client's bytes is not repeated.
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from freehold.errors import InvalidRequest

_DATA = re.compile(r"data:image/(?:png|jpeg|jpg|gif|webp);base64,")
_LONGEST_RATIO = 200  # of the sides; resizing a hairline would leave an engine with a side of no pixels


@dataclass(frozen=True)
class ImageLimits:
    """The most that a request may bring: images in all, bytes of a file, pixels of an image."""

    count: int
    bytes: int
    pixels: int


@dataclass(frozen=True)
class Image:
    """An image as it was sent, and the request's field that holds it."""

    param: str
    url: str


def is_address(url: str) -> bool:
    """Whether an image is given by where it is."""
    return url[:8].lower().startswith(("http://", "https://"))


def as_uri(data: bytes) -> str:
    """A file as a data: URI. What kind it is, its first bytes tell who reads it."""
    return f"data:image/png;base64,{binascii.b2a_base64(data, newline=False).decode()}"


def check_count(images: Sequence[Image], limits: ImageLimits) -> None:
    """Raises InvalidRequest for too many."""
    if len(images) > limits.count:
        _refuse(
            images[limits.count],
            f"The request has {len(images)} images; at most {limits.count} are taken (setting `images.count`).",
            "too_many_images",
        )


def check_images(images: Sequence[Image], limits: ImageLimits) -> None:
    """Raises InvalidRequest with OpenAI's code for the first that cannot be taken. Costs time: not for the event loop."""
    check_count(images, limits)
    for image in images:
        width, height = _size(image, _bytes(image, limits))
        if width * height > limits.pixels:
            _refuse(
                image,
                f"The image has {width}x{height} pixels; at most {limits.pixels:,} in all are taken (setting `images.pixels`).",
                "image_too_large",
            )
        if min(width, height) < 1 or max(width, height) > _LONGEST_RATIO * min(width, height):
            _refuse(image, f"The image's sides are {width} and {height} pixels; no model can see that.", "invalid_image")


def _refuse(image: Image, sentence: str, code: str) -> NoReturn:
    raise InvalidRequest(sentence, param=image.param, code=code)


def _bytes(image: Image, limits: ImageLimits) -> bytes:
    """The file in a data: URI."""
    found = _DATA.match(image.url)
    if found is None:
        if image.url.startswith("data:"):
            _refuse(
                image,
                "The image must be a PNG, JPEG or GIF file in base64: 'data:image/png;base64,…'.",
                "unsupported_image_media_type",
            )
        _refuse(
            image,
            "This server does not fetch images (setting `images.fetch`). Send the file in base64: 'data:image/png;base64,…'."
            if is_address(image.url)
            else "The image must be in the request itself, in base64: 'data:image/png;base64,…'.",
            "invalid_image_url",
        )
    text = image.url[found.end() :]
    if len(text) // 4 * 3 - text.endswith("=") - text.endswith("==") > limits.bytes:
        _refuse(
            image,
            f"The image has more than {limits.bytes:,} bytes, the limit (setting `images.bytes`).",
            "image_file_too_large",
        )
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        _refuse(image, "The image's data is not valid base64.", "invalid_base64_image")
    if not raw:
        _refuse(image, "The image is empty.", "empty_image_file")
    return raw


def _size(image: Image, raw: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header."""
    parser = next((parser for start, parser in _parsers().items() if raw.startswith(start)), None)
    if parser is None:
        kind = "WebP, which the engine cannot read" if raw[8:12] == b"WEBP" else "of another kind"
        _refuse(image, f"The image must be a PNG, JPEG or GIF file; this one is {kind}.", "invalid_image_format")
    try:
        header = parser(io.BytesIO(raw))
        width, height = header.size
        moving = bool(getattr(header, "is_animated", False))
    except Exception:  # noqa: BLE001  a parser of a stranger's bytes: whatever it raises, they are at fault
        _refuse(image, "The image cannot be read: it is damaged or incomplete.", "image_parse_error")
    if moving:
        _refuse(image, "The image is animated; send a single frame.", "invalid_image_format")
    return width, height


def _parsers() -> Mapping[bytes, Callable[[io.BytesIO], Any]]:
    """By the first bytes of a file. Not Pillow's own choice among all it knows: three formats are enough to be attacked by."""
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return {
        b"\x89PNG\r\n\x1a\n": PngImageFile,
        b"\xff\xd8\xff": JpegImageFile,
        b"GIF87a": GifImageFile,
        b"GIF89a": GifImageFile,
    }
