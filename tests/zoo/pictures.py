"""Image files for requests: good ones, and headers that promise more than the file holds."""

from __future__ import annotations

import base64
import io
import struct
import zlib

from PIL import Image


def picture(colour: str = "red", size: tuple[int, int] = (64, 64), kind: str = "PNG") -> bytes:
    """A file of one colour, with a stripe so that it is not all the same."""
    image = Image.new("RGB", size, colour)
    image.paste("white", (0, 0, size[0], max(1, size[1] // 4)))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def moving() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_that_claims(width: int, height: int, *before: bytes) -> bytes:
    """A PNG whose header names any size; `before` are chunks between the header and the few bytes of data."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + _chunk(b"IDAT", zlib.compress(bytes(100))) + _chunk(b"IEND", b"")


def compressed_text(megabytes: int) -> bytes:
    """A PNG chunk of text that unpacks to that size."""
    return _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(megabytes << 20)))


def gif_that_claims(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\xf0\0\0\0\0\0\xff\xff\xff" + _gif_frame(width, height) + b";"


def _gif_frame(width: int, height: int) -> bytes:
    return b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x4c\x01\0"


def jpeg_that_claims(width: int, height: int) -> bytes:
    data = bytearray(picture(kind="JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)
