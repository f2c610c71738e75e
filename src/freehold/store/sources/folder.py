"""Folders that are already on this machine: a pipeline of diffusers is copied, so that what its owner does later is theirs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import BadModelFile, StoreError
from freehold.store import disk, pipelines
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
    """A source: the pipeline in the folder `path`."""

    path: Path

    @property
    def name(self) -> str:
        return name_for(self.path.name)

    def is_in(self, installed: Manifest) -> bool:
        return False  # only its bytes would tell, and they are about to be read

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        index = self.path / pipelines.INDEX
        if not index.is_file():
            raise BadModelFile(f"{self.path.name!a} is no pipeline: it has no {pipelines.INDEX}.", "Name the GGUF file itself.")
        names = pipelines.needed(self._files(), pipelines.parsed(index.read_bytes()[: 1 << 20]))
        paths = {name: self.path / name for name in names}
        total = sum(path.stat().st_size for path in paths.values())
        disk.require(disk.free_bytes(store.data_dir), total)
        with temporary(store.staging) as folder:
            meter = Meter(report, "install", total)
            parts = [
                copied(path, folder / str(number), meter, "part", name) for number, (name, path) in enumerate(paths.items())
            ]
            there = {part.name: part.path for part in parts if part.path is not None}
            terms = Terms("file", task="image", engine="diffusers", options=pipelines.options(there, self.path.name))
            yield Staged(tuple(parts), terms, folder)

    def _files(self) -> list[str]:
        """The names of the files in the folder and in its folders."""
        try:
            found = [path.name for path in self.path.iterdir() if path.is_file()]
            for parent in (path for path in self.path.iterdir() if path.is_dir()):
                found += [f"{parent.name}/{name}" for name in os.listdir(parent) if (parent / name).is_file()]  # noqa: PTH208
                if len(found) > _MOST_FILES:
                    raise BadModelFile(f"{self.path.name!a} has far too many files for a pipeline.")
        except OSError as error:
            raise StoreError(f"{self.path.name!a} cannot be read: {error.strerror}.", "Check its permissions.") from None
        return found
