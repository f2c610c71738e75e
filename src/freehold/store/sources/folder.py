"""Folders that are already on this machine: a pipeline of diffusers, a recogniser of speech, a model that tells speakers apart.
They are copied, so that what their owner does later is theirs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import BadModelFile, StoreError
from freehold.store import diarisers, disk, pipelines, recognisers
from freehold.store.catalogue.shapes import folder_memory
from freehold.store.manifest import Manifest, Task
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
        wanted, terms = self._read(names)
        paths = {name: self.path / name for name in wanted}
        total = sum(path.stat().st_size for path in paths.values())
        disk.require(disk.free_bytes(store.data_dir), total)
        with temporary(store.staging) as folder:
            meter = Meter(report, "install", total)
            parts = [
                copied(path, folder / str(number), meter, "part", name) for number, (name, path) in enumerate(paths.items())
            ]
            yield Staged(tuple(parts), terms({part.name: part.path for part in parts if part.path is not None}), folder)

    def _read(self, names: list[str]) -> tuple[Collection[str], Callable[[Mapping[str, Path]], Terms]]:
        """The files that are needed, and what their copies say of the model. Raises BadModelFile for what is none."""
        if pipelines.INDEX in names:
            with (self.path / pipelines.INDEX).open("rb") as file:
                index = pipelines.parsed(file.read(1 << 20))
            return pipelines.needed(names, index), self._pipeline
        here = [name for name in names if "/" not in name]
        if any(recognisers.TOKENS.fullmatch(name) for name in here):
            roles = recognisers.needed(here)
            return roles.values(), lambda there: _speech("transcription", there, recognisers.options(there, roles))
        if weights := [name for name in here if name.endswith(".onnx")]:
            told = diarisers.needed(self.path, weights)
            return told.values(), lambda there: _speech("diarization", there, diarisers.options(there, told))
        raise BadModelFile(
            f"{self.path.name!a} is no model: it has neither a {pipelines.INDEX}, as pipelines have, nor ONNX files, as models "
            "of speech have.",
            "Name the GGUF file itself.",
        )

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


def _speech(task: Task, there: Mapping[str, Path], options: Mapping[str, Any]) -> Terms:
    memory = folder_memory(sum(path.stat().st_size for path in there.values()))
    return Terms("file", task=task, engine="sherpa-onnx", options={"memory_bytes": memory, **options})
