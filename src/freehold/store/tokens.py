"""The tokens of a speech model, as sherpa-onnx reads them: a text file of `base64(bytes)<TAB>id` lines."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from freehold.errors import BadModelFile

_MOST = 1 << 20  # tokens; the largest vocabularies have a quarter of that


def write_tokens(binary: Path, target: Path) -> Path:
    """Writes what Moonshine's tokenizer.bin holds to `target`. Raises BadModelFile for another kind of file."""
    lines = [
        f"{base64.b64encode(token).decode('ascii')}\t{number}\n" for number, token in enumerate(_tokens(binary.read_bytes()))
    ]
    if not 0 < len(lines) <= _MOST:
        raise BadModelFile(f"{binary.name[:80]!a} holds no tokens.")
    target.write_text("".join(lines), encoding="ascii")
    return target


def _tokens(data: bytes) -> Iterator[bytes]:
    """Entries in the order of their ids, each with its length before it: one byte, from 128 on two (low seven bits first)."""
    at = 0
    while at < len(data):
        length, at = data[at], at + 1
        if length >= 128:
            if at == len(data):
                raise BadModelFile("The tokenizer ends inside an entry.")
            length, at = data[at] * 128 + length - 128, at + 1
        if at + length > len(data):
            raise BadModelFile("The tokenizer ends inside an entry.")
        yield data[at : at + length]
        at += length
