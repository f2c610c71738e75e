"""Where each field of a GGUF file lies, so that single ones can be changed.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["count", "length", "type", "text", "value", "dimension", "offset"]

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@dataclass(frozen=True)
class Field:
    """`size` bytes at `at`; `name` is the metadata key or the tensor that it belongs to, or what it counts."""

    kind: Kind
    name: str
    at: int
    size: int


def fields(data: bytes) -> list[Field]:
    """All fields of the header. Of arrays, the first few items."""
    return list(_Walk(data).all())


class _Walk:
    def __init__(self, data: bytes):
        self._data = data
        self._at = 4

    def _number(self, form: str) -> int:
        value: int = struct.unpack_from(form, self._data, self._at)[0]
        self._at += struct.calcsize(form)
        return value

    def _field(self, kind: Kind, name: str, size: int) -> Field:
        return Field(kind, name, self._at, size)

    def all(self) -> Iterator[Field]:
        yield self._field("type", "version", 4)
        self._at += 4
        yield self._field("count", "tensors", 8)
        tensors = self._number("<Q")
        yield self._field("count", "keys", 8)
        keys = self._number("<Q")
        for _ in range(keys):
            yield from self._key()
        for _ in range(tensors):
            yield from self._tensor()

    def _text(self, name: str) -> Iterator[Field]:
        yield self._field("length", name, 8)
        length = self._number("<Q")
        yield self._field("text", name, length)
        self._at += length

    def _name(self) -> str:
        (length,) = struct.unpack_from("<Q", self._data, self._at)
        return self._data[self._at + 8 : self._at + 8 + length].decode()

    def _key(self) -> Iterator[Field]:
        name = self._name()
        yield from self._text(name)
        yield self._field("type", name, 4)
        yield from self._value(name, self._number("<I"))

    def _value(self, name: str, code: int) -> Iterator[Field]:
        if code == 8:
            yield from self._text(name)
        elif code == 9:
            yield self._field("type", name, 4)
            inner = self._number("<I")
            yield self._field("count", name, 8)
            count = self._number("<Q")
            for index in range(count):
                items = self._value(name, inner)
                yield from items if index < 4 else ()
                for _ in items:
                    pass
        else:
            yield self._field("value", name, _SIZES[code])
            self._at += _SIZES[code]

    def _tensor(self) -> Iterator[Field]:
        name = self._name()
        yield from self._text(name)
        yield self._field("count", name, 4)
        for _ in range(self._number("<I")):
            yield self._field("dimension", name, 8)
            self._at += 8
        yield self._field("type", name, 4)
        self._at += 4
        yield self._field("offset", name, 8)
        self._at += 8
