"""Folders that are already on this machine: a pipeline of diffusers, or a recogniser of speech. They are copied, so that what
their owner does later is theirs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import BadModelFile, StoreError
from freehold.store import disk, pipelines, recognisers
from freehold.store.catalogue.shapes import folder_memory
from freehold.store.manifest import Manifest
from freehold.store.names import name_for
from freehold.store.progress import Meter, OnProgress
from freehold.store.sources.file import copied
from freehold.store.staged import Staged, Terms
from freehold.store.staging import temporary
from freehold.store.store import Store

_MOST_FILES = 2000


@dataclass(frozen=True)
class FromFolder:
    """A source: what is in the folder `path`."""

    path: Path

    @property
    def name(self) -> str:
        return name_for(self.path.name)

    def is_in(self, installed: Manifest) -> bool:
        return False  # only its bytes would tell, and they are about to be read

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        names = self._files()
        pipeline = pipelines.INDEX in names
        if not pipeline and not any(recognisers.TOKENS.fullmatch(name) for name in names):
            raise BadModelFile(
                f"{self.path.name!a} is no model: it has neither a {pipelines.INDEX}, as pipelines have, nor a tokens.txt, as "
                "recognisers have.",
                "Name the GGUF file itself.",
            )
        roles = {} if pipeline else recognisers.needed([name for name in names if "/" not in name])
        index = (self.path / pipelines.INDEX).read_bytes()[: 1 << 20] if pipeline else b""
        wanted = pipelines.needed(names, pipelines.parsed(index)) if pipeline else tuple(roles.values())
        paths = {name: self.path / name for name in wanted}
        total = sum(path.stat().st_size for path in paths.values())
        disk.require(disk.free_bytes(store.data_dir), total)
        with temporary(store.staging) as folder:
            meter = Meter(report, "install", total)
            parts = [
                copied(path, folder / str(number), meter, "part", name) for number, (name, path) in enumerate(paths.items())
            ]
            there = {part.name: part.path for part in parts if part.path is not None}
            yield Staged(tuple(parts), self._pipeline(there) if pipeline else _recogniser(there, roles, total), folder)

    def _pipeline(self, there: Mapping[str, Path]) -> Terms:
        return Terms("file", task="image", engine="diffusers", options=pipelines.options(there, self.path.name))

    def _files(self) -> list[str]:
        """The names of the files in the folder and in its folders."""
        try:
            found = [path.name for path in self.path.iterdir() if path.is_file()]
            for parent in (path for path in self.path.iterdir() if path.is_dir()):
                found += [f"{parent.name}/{name}" for name in os.listdir(parent) if (parent / name).is_file()]  # noqa: PTH208
                if len(found) > _MOST_FILES:
                    raise BadModelFile(f"{self.path.name!a} has far too many files for a model.")
        except OSError as error:
            raise StoreError(f"{self.path.name!a} cannot be read: {error.strerror}.", "Check its permissions.") from None
        return found


def _recogniser(there: Mapping[str, Path], roles: Mapping[str, str], size: int) -> Terms:
    told = {"memory_bytes": folder_memory(size), **recognisers.options(there, roles)}
    return Terms("file", task="transcription", engine="sherpa-onnx", options=told)
