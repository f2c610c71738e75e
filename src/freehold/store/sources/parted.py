"""Models of the catalogue that are a folder of files, plain or in an archive: those of all engines but llama.cpp."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from freehold.errors import StoreError
from freehold.store import archive, disk
from freehold.store.catalogue import Download, Entry
from freehold.store.catalogue.shapes import folder_memory
from freehold.store.manifest import Engine, Manifest, Task
from freehold.store.pins import Pins
from freehold.store.progress import OnProgress, Progress
from freehold.store.sources import addresses, hf
from freehold.store.sources.download import Wanted
from freehold.store.sources.remote import Remote, fetch_all
from freehold.store.staged import Part, Staged, Terms
from freehold.store.staging import resumable
from freehold.store.store import Store, digest_of
from freehold.store.voices import described

if TYPE_CHECKING:
    from freehold.store.sources.hub import Hub

_TASKS: Mapping[str, Task] = MappingProxyType({"speech-to-text": "transcription", "text-to-speech": "speech", "image": "image"})
_MOST_FILES = 2_000
_LARGEST = 8 << 30  # bytes of one file
_RATIO, _SLACK = 6, 64 << 20  # what an archive unpacks to, at most, by its own size: weights hardly shrink
_ENDS = (".tar.bz2", ".tar.gz", ".tar.xz", ".tgz", ".tar")


class FromParts:
    """A source: an entry's chosen variant. Every file becomes a part of the model's folder under its own name."""

    def __init__(self, entry: Entry):
        self.entry = entry
        self._listings: dict[str, Mapping[str, Mapping[str, Any]]] = {}  # by repository

    @property
    def name(self) -> str:
        return self.entry.installed_name

    def is_in(self, installed: Manifest) -> bool:
        """By the digests of its files, where they are plain and known; an archive by its address, which has a version in it."""
        files = self.entry.variant.files
        if any(file.role == "archive" for file in files):
            return installed.source == self._source and installed.engine == self.entry.engine
        wanted = {f"sha256:{file.sha256}" for file in files if file.sha256}
        return len(wanted) == len(files) and wanted == {file.digest for file in installed.files}

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        pins = Pins(store.data_dir)
        remotes = [self._remote(file, pins) for file in self.entry.variant.files]
        key = hashlib.sha256("\n".join(f"{each.wanted.sha256} {each.wanted.url}" for each in remotes).encode())
        with resumable(store.staging, key.hexdigest()[:32]) as folder:
            parts: list[Part] = []
            fetched = fetch_all(store, remotes, folder, report)
            for file, part in zip(self.entry.variant.files, fetched, strict=True):
                if not file.sha256 and not file.reference.startswith("hf:"):
                    pins.put(file.reference, part.digest.removeprefix("sha256:"))
                if file.role == "archive":
                    parts += _unpacked(file, part.where(store), folder / "unpacked" / str(len(parts)), report)
                else:
                    parts.append(part)
            yield Staged(tuple(parts), self._terms({part.name: part.where(store) for part in parts}), folder)

    @property
    def _source(self) -> str:
        return self.entry.variant.files[0].reference

    def _terms(self, files: Mapping[str, Path]) -> Terms:
        entry, options = self.entry, dict(self.entry.variant.options)
        task = next(_TASKS[task] for task in entry.tasks if task in _TASKS)
        if task == "speech":
            options = described(files, entry.name.rpartition(":")[2]) | options
        options.setdefault("memory_bytes", folder_memory(sum(path.stat().st_size for path in files.values())))
        return Terms(
            self._source,
            task=task,
            engine=cast(Engine, entry.engine),  # one that is served
            license=entry.license,
            description=f"{entry.title}: {entry.good_for}" if entry.good_for else entry.title,
            options=options,
        )

    def _remote(self, file: Download, pins: Pins) -> Remote:
        if not file.reference.startswith("hf:"):
            addresses.check(file.reference)
            sha256 = file.sha256 or pins.get(file.reference)
            return Remote("part", file.name, Wanted(file.reference, sha256, file.size))
        reference = hf.parse(file.reference.removeprefix("hf:"))
        hub = self._hub
        explain = functools.partial(hub.explain, reference.repository)
        url = hub.url(reference.repository, reference.asked or "", reference.revision or "main")
        wanted = Wanted(url, file.sha256, file.size, hub.secrets, explain)
        if file.sha256 is None:  # the hub knows it, of large files
            known = self._known(reference.repository, reference.asked or "")
            wanted = replace(wanted, sha256=known.get("sha256"), size=known.get("size"))
        return Remote("part", file.name, wanted)

    @functools.cached_property
    def _hub(self) -> Hub:
        from freehold.store.sources.hub import Hub  # httpx and all that: only for who needs it

        return Hub()

    def _known(self, repository: str, path: str) -> Mapping[str, Any]:
        """What the hub knows of a file. Raises StoreError when it is not there."""
        if repository not in self._listings:
            self._listings[repository] = hf.listed(self._hub.info(repository, None))
        known = self._listings[repository].get(path)
        if known is None:
            raise StoreError(f"{repository} has no file {path[:100]!a}.", "Look for another model: freehold models")
        return known


def _unpacked(file: Download, path: Path, target: Path, report: OnProgress) -> list[Part]:
    """The wanted files of an archive. They lie in a folder that is named like it, as those of sherpa-onnx's releases do."""
    report(Progress("unpack", 0, None))
    remedy = "Nothing was installed; try again, or tell its publisher."
    suspicion = archive.Suspicion(f"The archive {file.name[:100]!a}", remedy)
    size = path.stat().st_size
    limits = archive.Limits(_MOST_FILES, _LARGEST, _RATIO * size + _SLACK)
    disk.require(disk.free_bytes(target.parent.parent), 2 * size)
    used: set[str] = set()

    def keep(name: str) -> bool:
        found = [pattern for pattern in file.members if fnmatch.fnmatchcase(name, pattern)]
        used.update(found)
        return bool(found)

    def tell(done: int) -> None:
        report(Progress("unpack", done, None))

    shutil.rmtree(target, ignore_errors=True)  # of an earlier attempt
    target.parent.mkdir(exist_ok=True)
    archive.unpack(path, f"{_stem(file)}/", target, limits, tell, keep=keep, suspicion=suspicion)
    if missing := set(file.members) - used:
        raise suspicion.strange(f"it lacks {', '.join(sorted(missing))[:200]!a}")
    found = sorted(each for each in target.rglob("*") if each.is_file())
    return [Part("part", str(each.relative_to(target)), digest_of(each), each) for each in found]


def _stem(file: Download) -> str:
    name = unquote(urlsplit(file.reference).path).rpartition("/")[2]
    return next((name.removesuffix(end) for end in _ENDS if name.endswith(end)), name)
