"""Models of the catalogue that are a repository as a whole: pipelines of diffusers. Their entry names its index alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from freehold.errors import StoreError
from freehold.store import pipelines
from freehold.store.catalogue import Entry
from freehold.store.manifest import Manifest
from freehold.store.progress import OnProgress
from freehold.store.sources import hf
from freehold.store.staged import Source, Staged
from freehold.store.store import Store


@dataclass(frozen=True)
class FromRepository:
    """A source: the repository of an entry. `inner` fetches it."""

    entry: Entry
    inner: Source

    @classmethod
    def of(cls, entry: Entry) -> FromRepository:
        """Raises StoreError for an entry that names other files."""
        reference = entry.variant.files[0].reference
        kind, _, path = reference.removesuffix(f"/{pipelines.INDEX}").partition(":")
        if len(entry.variant.files) != 1 or not reference.endswith(f"/{pipelines.INDEX}") or kind != "hf":
            raise StoreError(f"{entry.name} is not described as a pipeline.", f"Its one file is hf:org/repo/{pipelines.INDEX}.")
        return cls(entry, hf.FromHub(hf.parse(path)))

    @property
    def name(self) -> str:
        return self.entry.installed_name

    def is_in(self, installed: Manifest) -> bool:
        return False  # the hub says what is there now

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        entry = self.entry
        with self.inner.stage(store, report) as staged:
            about = f"{entry.title}: {entry.good_for}" if entry.good_for else entry.title
            yield replace(staged, terms=replace(staged.terms, license=entry.license, description=about))
