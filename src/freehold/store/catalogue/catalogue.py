"""The entries under all their names."""

from __future__ import annotations

import difflib
import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from freehold.store.catalogue import read
from freehold.store.catalogue.entry import Entry

USER_FILE = "catalogue.toml"


@dataclass(frozen=True)
class Catalogue:
    """Entries in their order, and an index of their names and aliases (lower case)."""

    entries: tuple[Entry, ...]

    @functools.cached_property
    def _index(self) -> dict[str, Entry]:
        index: dict[str, Entry] = {}
        families = Counter(entry.family.lower() for entry in self.entries)
        for entry in self.entries:
            usual = entry.default or families[entry.family.lower()] == 1
            for name in (entry.name, *entry.aliases, *((entry.family,) if usual else ())):
                index.setdefault(name.lower(), entry)
        return index

    def find(self, name: str) -> Entry | None:
        """The entry of a name, with the quantisation chosen that the name ends with."""
        wanted = name.strip().lower().removesuffix(":latest")
        if entry := self._index.get(wanted):
            return entry
        for split in (":", "-"):
            stem, _, quantization = wanted.rpartition(split)
            entry = self._index.get(stem)
            if entry and (variant := entry.with_quantization(quantization)):
                return replace(entry, chosen=variant.quantization)
        return None

    def near(self, name: str) -> tuple[str, ...]:
        """Names that look like this one, those of its family first; at most three."""
        wanted = name.strip().lower()[:100]
        family = wanted.partition(":")[0]
        kin = [entry.name for entry in self.entries if entry.family.lower() == family]
        like = difflib.get_close_matches(wanted, self._index, n=3, cutoff=0.6)
        found = dict.fromkeys([*kin[:3], *(self._index[key].name for key in like)])
        return tuple(found)[:3]


def load(data_dir: Path | None = None) -> Catalogue:
    """The built-in catalogue, with the user's own entries from `data_dir` in front. Raises StoreError."""
    own = data_dir / USER_FILE if data_dir else None
    if own is None or not own.is_file():
        return _built_in()
    return merged(read.user_entries(own), _built_in().entries)


def merged(own: Iterable[Entry], built_in: Iterable[Entry]) -> Catalogue:
    """A user's entry stands in place of a built-in one of its name."""
    own = tuple(own)
    names = {entry.name.lower() for entry in own}
    return Catalogue((*own, *(entry for entry in built_in if entry.name.lower() not in names)))


@functools.cache
def _built_in() -> Catalogue:
    return Catalogue(read.built_in_entries())
