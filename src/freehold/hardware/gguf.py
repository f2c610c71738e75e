"""Reads the header of a GGUF file: metadata and where each tensor lies. Never the tensors themselves.

Model files come from anywhere, and the engine that maps them is native code. So this reader trusts nothing: every count,
length, offset and type is checked against a limit and the size of the file, and whatever is wrong raises BadModelFile.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

from freehold.errors import BadModelFile
from freehold.hardware.marks import MARKS

_MAGIC = b"GGUF"
_CHUNK = 1 << 20
_MAX_HEADER = 1 << 28  # bytes; the largest have some tens of millions, most of it an embedded tokenizer
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 16
_MAX_DIMENSIONS = 4
_MAX_NAME = 64  # GGML_MAX_NAME, in bytes, with the closing zero
_MAX_KEY = 1 << 16  # the format's own limit
_MAX_ELEMENTS = 1 << 62
_MAX_STRINGS = 1 << 22  # in all arrays together; the largest vocabularies with their merges have under a million
_MAX_ALIGNMENT = 1 << 16
_TOKENS = "tokenizer.ggml.tokens"
_WANTED: Mapping[int, frozenset[bytes]] = MappingProxyType(
    {
        length: frozenset(raw for mark in MARKS if len(raw := mark.encode()) == length)
        for length in {len(mark.encode()) for mark in MARKS}
    }
)
_KEPT_STRING = 1 << 20  # bytes; a chat template has thousands, an embedded tokenizer.json has millions
_KEPT_NUMBERS = 1 << 10
_KEPT_STRINGS = 1 << 6
_KEPT = 1 << 26  # bytes of all kept values together

_STRING, _ARRAY = 8, 9
_SCALARS: Mapping[int, struct.Struct] = MappingProxyType(
    {code: struct.Struct(f"<{form}") for code, form in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True)}
)

# type code → (name, elements in a block, bytes of a block); ggml.h's enum ggml_type and the block structs of ggml-common.h
_TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType(
    {
        0: ("F32", 1, 4),
        1: ("F16", 1, 2),
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
        9: ("Q8_1", 32, 36),
        10: ("Q2_K", 256, 84),
        11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144),
        13: ("Q5_K", 256, 176),
        14: ("Q6_K", 256, 210),
        15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66),
        17: ("IQ2_XS", 256, 74),
        18: ("IQ3_XXS", 256, 98),
        19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18),
        21: ("IQ3_S", 256, 110),
        22: ("IQ2_S", 256, 82),
        23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1),
        25: ("I16", 1, 2),
        26: ("I32", 1, 4),
        27: ("I64", 1, 8),
        28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56),
        30: ("BF16", 1, 2),
        34: ("TQ1_0", 256, 54),
        35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17),
        40: ("NVFP4", 64, 36),
        41: ("Q1_0", 128, 18),
        42: ("Q2_0", 64, 18),
    }
)


@dataclass(frozen=True)
class Skipped:
    """A value too long to keep, such as the token list: its kind ("string", or "array") and its length (bytes, or items)."""

    kind: str
    length: int

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's place. `shape` is in GGUF's order (fastest first), `offset` counts bytes from the header's `data_offset`."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    nbytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """All that a GGUF file says before its data. Arrays are tuples, or Skipped where they are long; `marks` are those of its
    tokens, by text, that `freehold.hardware.marks` asks for."""

    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    marks: Mapping[str, int] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """The header of a GGUF file. Raises BadModelFile with what is wrong, OSError when the file cannot be read."""
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        file.seek(0)
        return _Reader(file, size).header()


def _bad(reason: str) -> NoReturn:
    raise BadModelFile(f"This is not a usable GGUF file: {reason}.", "Download it again, or choose another file.")


def _shown(raw: bytes | str) -> str:
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    return ascii(text[:60])


class _Reader:
    """A cursor over the header, which holds one chunk of the file at a time. `size` is the file's, in bytes."""

    def __init__(self, file: BinaryIO, size: int):
        self._file = file
        self._size = size
        self._buffer = b""
        self._start = 0  # where the buffer lies in the file; the file stands at its end
        self._at = 0  # the cursor, in the buffer
        self._strings_left = _MAX_STRINGS
        self._kept_left = _KEPT
        self._marks: dict[str, int] = {}

    def header(self) -> Header:
        if self._size < 4 or self._take(4) != _MAGIC:
            _bad("it does not begin with the letters GGUF")
        version = self._number("<I")
        if version in (2 << 24, 3 << 24):
            _bad("it is big-endian, which no engine here runs")
        if version not in (2, 3):
            _bad(f"its format version is {version}, and only 2 and 3 are known")
        tensors = self._count("tensors", _MAX_TENSORS, least=24)
        metadata = self._metadata(self._count("metadata keys", _MAX_KEYS, least=13))
        infos = [self._tensor() for _ in range(tensors)]
        alignment = _alignment(metadata)
        data_offset = -(-self._tell() // alignment) * alignment
        _check_places(infos, alignment, self._size - data_offset)
        return Header(version, MappingProxyType(metadata), tuple(infos), data_offset, self._marks)

    def _metadata(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self._text("a metadata key", _MAX_KEY)
            if key in found:
                _bad(f"the metadata key {_shown(key)} is there twice")
            found[key] = self._value(key)
        return found

    def _value(self, key: str) -> Any:
        code = self._number("<I")
        if code in _SCALARS:
            return self._scalar(code)
        if code == _STRING:
            return self._string_value()
        if code == _ARRAY:
            return self._array(key)
        return _bad(f"the metadata value of {_shown(key)} has the unknown type {code}")

    def _scalar(self, code: int) -> Any:
        form = _SCALARS[code]
        return form.unpack(self._take(form.size))[0]

    def _string_value(self) -> str | Skipped:
        length = self._length("a metadata string")
        if length > min(_KEPT_STRING, self._kept_left):
            self._skip(length)
            return Skipped("string", length)
        self._kept_left -= length
        return self._take(length).decode("utf-8", "replace")

    def _array(self, key: str) -> tuple[Any, ...] | Skipped:
        code, count = self._number("<I"), self._number("<Q")
        if code in _SCALARS:
            width = _SCALARS[code].size
            if count * width > self._left():
                _bad(f"the array {_shown(key)} of {count} values does not fit the file")
            if count <= _KEPT_NUMBERS:
                return tuple(self._scalar(code) for _ in range(count))
            self._skip(count * width)
            return Skipped("array", count)
        if code != _STRING:
            _bad(f"the array {_shown(key)} holds values of the unusable type {code}")
        if count > self._strings_left or count * 8 > self._left():
            _bad(f"the array {_shown(key)} of {count} strings is too long")
        self._strings_left -= count
        wanted = _WANTED if key == _TOKENS else {}
        if count <= _KEPT_STRINGS:
            kept = tuple(self._string_value() for _ in range(count))
            self._marks |= {text: at for at, text in enumerate(kept) if isinstance(text, str) and text in MARKS and wanted}
            return kept
        self._skip_strings(count, wanted)
        return Skipped("array", count)

    def _skip_strings(self, count: int, wanted: Mapping[int, frozenset[bytes]]) -> None:
        """Steps over length-prefixed strings; the loop that decides how fast a header is read. `wanted` are strings to note the
        places of, by their lengths."""
        unpack, total = struct.Struct("<Q").unpack_from, count
        while count:
            buffer, at = self._buffer, self._at
            last = len(buffer) - 8
            while count and at <= last:
                length = unpack(buffer, at)[0]
                end = at + 8 + length
                if end > len(buffer):
                    break
                if length in wanted and buffer[at + 8 : end] in wanted[length]:
                    self._marks[buffer[at + 8 : end].decode()] = total - count
                at = end
                count -= 1
            self._at = at
            if count:
                length = self._length("a string of an array")
                if length in wanted and (text := self._take(length)) in wanted[length]:
                    self._marks[text.decode()] = total - count
                elif length not in wanted:
                    self._skip(length)
                count -= 1

    def _tensor(self) -> TensorInfo:
        name = self._text("a tensor's name", _MAX_NAME - 1)
        dimensions = self._number("<I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            _bad(f"the tensor {_shown(name)} has {dimensions} dimensions")
        shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
        code, offset = self._number("<I"), self._number("<Q")
        if code not in _TYPES:
            _bad(f"the tensor {_shown(name)} has the unknown type {code}")
        type_name, block, block_bytes = _TYPES[code]
        elements = math.prod(shape)
        if not 0 < elements <= _MAX_ELEMENTS:
            _bad(f"the tensor {_shown(name)} has the impossible shape {shape}")
        if shape[0] % block:
            _bad(f"the rows of the tensor {_shown(name)} are not made of whole {type_name} blocks")
        return TensorInfo(name, shape, type_name, offset, elements // block * block_bytes)

    def _count(self, what: str, limit: int, least: int) -> int:
        """A count of things that take `least` bytes each."""
        count = self._number("<Q")
        if count > limit or count * least > self._left():
            _bad(f"it claims {count} {what}")
        return count

    def _length(self, what: str) -> int:
        length = self._number("<Q")
        if length > self._left():
            _bad(f"{what} claims {length} bytes, past the end of the file")
        return length

    def _text(self, what: str, limit: int) -> str:
        length = self._length(what)
        if not 0 < length <= limit:
            _bad(f"{what} has {length} bytes")
        raw = self._take(length)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return _bad(f"{what} is not UTF-8: {_shown(raw)}")

    def _number(self, form: str) -> int:
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _tell(self) -> int:
        return self._start + self._at

    def _left(self) -> int:
        return self._size - self._tell()

    def _take(self, count: int) -> bytes:
        """The next `count` bytes, at most 1 MiB."""
        if count > len(self._buffer) - self._at:
            self._fill(count)
        self._at += count
        return self._buffer[self._at - count : self._at]

    def _fill(self, count: int) -> None:
        """Makes `count` bytes available at the cursor."""
        self._start += self._at
        if self._start > _MAX_HEADER:
            _bad("its header is endless")
        self._buffer = self._buffer[self._at :]
        self._at = 0
        while len(self._buffer) < count:
            piece = self._file.read(_CHUNK)
            if not piece:
                _bad("it ends in the middle of its header")
            self._buffer += piece

    def _skip(self, count: int) -> None:
        """Steps over `count` bytes that are known to be in the file."""
        self._at += count
        if self._at > len(self._buffer):
            self._start, self._at, self._buffer = self._tell(), 0, b""
            self._file.seek(self._start)


def _alignment(metadata: Mapping[str, Any]) -> int:
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or not 1 <= value <= _MAX_ALIGNMENT or value & (value - 1):
        _bad("its alignment is not a power of two")
    return value


def _check_places(tensors: list[TensorInfo], alignment: int, available: int) -> None:
    """Every tensor lies inside the file, aligned, under a name of its own, and overlaps no other."""
    names: set[str] = set()
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.name in names:
            _bad(f"the tensor {_shown(tensor.name)} is there twice")
        names.add(tensor.name)
        if tensor.offset % alignment:
            _bad(f"the tensor {_shown(tensor.name)} is not aligned")
        if tensor.offset < end:
            _bad(f"the tensor {_shown(tensor.name)} overlaps another")
        end = tensor.offset + tensor.nbytes
        if end > available:
            _bad(f"it is truncated: the tensor {_shown(tensor.name)} ends {end - available} bytes past the end of the file")
