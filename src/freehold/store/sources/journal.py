"""What is known of a file that is being downloaded, kept beside it: one JSON object a line, appended as chunks grow.

    {"total", "chunk", "etag"}        first: bytes of the file and of a chunk, and the version these bytes are of
    {"n", "at"}                       chunk `n` has its first `at` bytes
    {"n", "sha256"}                   chunk `n` is complete, and this was its digest as it came

A line that a crash cut short is ignored, so at most the bytes since the line before are fetched again. What a power cut does to
the file itself is found by the digests.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.store.manifest import check_digest

_LONGEST = 1 << 26  # bytes; a line for each 256 KiB of a 70B model has a few MB


@dataclass
class State:
    """How far each chunk is: `at` bytes of those that have begun, `done` digests (hex) of the complete ones.

    `etag` is strong, or empty where the server gives none; then nothing is pieced together.
    """

    total: int
    chunk: int
    etag: str
    at: dict[int, int] = field(default_factory=dict)
    done: dict[int, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Chunks there are."""
        return -(-self.total // self.chunk)

    def span(self, number: int) -> tuple[int, int]:
        """First byte of a chunk, and the first after it."""
        return number * self.chunk, min(self.total, (number + 1) * self.chunk)

    @property
    def here(self) -> int:
        """Bytes that are here."""
        spans = [self.span(number) for number in self.done]
        return sum(end - begin for begin, end in spans) + sum(at for number, at in self.at.items() if number not in self.done)


class Journal:
    """The file of one download's state. Written by several threads under their own lock."""

    def __init__(self, path: Path):
        self._path = path
        self._handle = -1

    def read(self) -> State | None:
        """The state as it was left, or None where there is none that makes sense."""
        try:
            if self._path.stat().st_size > _LONGEST:
                return None
            lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        except OSError:
            return None
        try:
            state = _first(lines)
            for values in _objects(lines[1:]):
                _apply(state, values)
        except (LookupError, TypeError, ValueError):
            return None
        return state

    def begin(self, state: State) -> None:
        """Starts anew with that state."""
        self.close()
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        self._line({"total": state.total, "chunk": state.chunk, "etag": state.etag})
        for number, at in state.at.items():
            self.grew(number, at)
        for number, digest in state.done.items():
            self.finished(number, digest)

    def grew(self, number: int, at: int) -> None:
        self._line({"n": number, "at": at})

    def finished(self, number: int, digest: str) -> None:
        self._line({"n": number, "sha256": digest})

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _line(self, values: dict[str, Any]) -> None:
        data = json.dumps(values).encode() + b"\n"
        while data:  # a disk that is nearly full takes a part
            data = data[os.write(self._handle, data) :]


def _first(lines: list[str]) -> State:
    values = json.loads(lines[0])
    state = State(_count(values["total"]), _count(values["chunk"]), values["etag"])
    if not isinstance(state.etag, str) or not state.etag.isascii() or not state.etag.isprintable():
        raise ValueError("not an ETag")
    return state


def _objects(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with contextlib.suppress(ValueError):
            values = json.loads(line)
            if isinstance(values, dict):
                yield values


def _apply(state: State, values: dict[str, Any]) -> None:
    number = values["n"]
    if type(number) is not int or not 0 <= number < state.count:
        raise ValueError("no such chunk")
    begin, end = state.span(number)
    if "at" in values:
        if not 0 <= _count(values["at"], least=0) <= end - begin:
            raise ValueError("longer than its chunk")
        state.at[number] = values["at"]
        state.done.pop(number, None)
    else:
        check_digest(f"sha256:{values['sha256']}")
        state.done[number] = values["sha256"]


def _count(value: Any, least: int = 1) -> int:
    if type(value) is not int or value < least:
        raise ValueError("not a count")
    return value
