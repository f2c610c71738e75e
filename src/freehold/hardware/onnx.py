"""What an ONNX file says of itself, without a runtime: the properties that its makers wrote into it.

The format is onnx/onnx.proto: a ModelProto in Protocol Buffers' wire format, with `metadata_props` as its field 14. All else,
the graph with its weights above all, is stepped over.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from freehold.errors import BadModelFile

_PROPERTIES = 14
_MOST_PROPERTIES, _LONGEST = 256, 1 << 20  # of a file, and bytes of each
_BYTES = 2  # the wire type of what has a length


def onnx_properties(path: Path, name: str = "") -> dict[str, str]:
    """The properties by name; `name` is what the file is called, where its path does not tell. Raises BadModelFile for what is
    no ONNX file."""
    try:
        with path.open("rb") as file:
            return _properties(file, path.stat().st_size)
    except ValueError as error:
        raise BadModelFile(
            f"{name or path.name} is not a sound ONNX file: {error}.", "Get it again, from where it came."
        ) from None


def _properties(file: BinaryIO, size: int) -> dict[str, str]:
    found: dict[str, str] = {}
    graph = False
    while file.tell() < size:
        number, kind = _key(file)
        if kind != _BYTES:
            _step_over(file, kind)
            continue
        length = _varint(file)
        if length > size - file.tell():
            raise ValueError("a part of it is longer than the file")
        graph |= number == 7
        if number != _PROPERTIES:
            file.seek(length, 1)
            continue
        if length > _LONGEST or len(found) >= _MOST_PROPERTIES:
            raise ValueError("it has too many properties")
        entry = dict(_strings(file.read(length)))
        found[entry.get(1, "")] = entry.get(2, "")
    if not graph:
        raise ValueError("it has no graph")
    return found


def _strings(raw: bytes) -> Iterator[tuple[int, str]]:
    """The fields of a StringStringEntryProto: 1 is the key, 2 the value."""
    file = io.BytesIO(raw)
    while file.tell() < len(raw):
        number, kind = _key(file)
        if kind != _BYTES:
            raise ValueError("a property is no text")
        text = file.read(_varint(file))
        yield number, text.decode("utf-8", "replace")


def _key(file: BinaryIO) -> tuple[int, int]:
    key = _varint(file)
    return key >> 3, key & 7


def _step_over(file: BinaryIO, kind: int) -> None:
    match kind:
        case 0:  # a number of any length
            _varint(file)
        case 1:  # of eight bytes
            file.seek(8, 1)
        case 5:  # of four
            file.seek(4, 1)
        case _:
            raise ValueError("it has a part of an unknown kind")


def _varint(file: BinaryIO) -> int:
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends too soon")
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return value
    raise ValueError("it has a number without an end")
