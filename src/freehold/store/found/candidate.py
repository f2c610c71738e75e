"""A model that was seen, before its files are looked into."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.errors import InvalidRequest
from freehold.store import quants
from freehold.store.manifest import Example
from freehold.store.names import check_name

_MOST = 20_000  # entries of one folder tree that are looked at


@dataclass(frozen=True)
class Candidate:
    """Files that make up a model. `digests` are what their owner says of them ("sha256:<hex>"), by path.

    `sampling`, `options`, `notes` and `system` as in a manifest; `family` names the chat template for weights that bring none.
    """

    name: str
    source: str
    weights: tuple[Path, ...]
    projector: Path | None = None
    digests: Mapping[Path, str] = field(default_factory=dict)
    sampling: Mapping[str, float | tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    family: str | None = None
    system: str = ""
    examples: tuple[Example, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        return self.weights if self.projector is None else (*self.weights, self.projector)


def named(*words: str) -> str | None:
    """A name made of words from the disk, what no name has replaced by "-"; None where nothing usable is left."""
    clean = [re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "-", word).lstrip("._-").rstrip("-") for word in words]
    if not all(clean):
        return None
    try:
        return check_name("/".join(clean))
    except InvalidRequest:
        return None


def gguf_files(folder: Path, depth: int) -> list[str]:
    """Paths of the GGUF files below a folder, relative to it, at most so many folders deep."""
    found = []
    for number, (path, entry) in enumerate(_walk(folder, depth)):
        if number >= _MOST:
            break
        if entry.name.lower().endswith(".gguf") and path.isprintable():
            found.append(path)
    return found


def models_in(folder: Path, paths: list[str]) -> Iterator[tuple[quants.Candidate, str | None]]:
    """The models among files, each with the projector that lies beside it."""
    for candidate in quants.candidates(paths):
        parent = candidate.paths[0].rpartition("/")[0]
        beside = [path for path in paths if path.rpartition("/")[0] == parent]
        yield candidate, quants.projector(beside, candidate.paths[0])


def _walk(folder: Path, depth: int, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = f"{prefix}{entry.name}"
        try:
            if entry.is_dir():
                if depth > 0:
                    yield from _walk(Path(entry.path), depth - 1, f"{path}/")
            elif entry.is_file():
                yield path, entry
        except OSError:
            continue
