"""The catalogue: models that people ask for, by the names they type, with all that a pull and a choice need to know.

`find("qwen3:4b")`, `find("qwen3:4b:q8_0")`, `find("qwen3")`. The entries are data (`data/*.json`), read on first use; a user's
own stand in `catalogue.toml` of the data folder and go before them.
"""

from __future__ import annotations

from pathlib import Path

from freehold.store.catalogue.catalogue import Catalogue, load
from freehold.store.catalogue.entry import Architecture, Download, Entry, Size, Variant

__all__ = ["Architecture", "Catalogue", "Download", "Entry", "Size", "Variant", "all", "find", "load", "near"]


def find(name: str, data_dir: Path | None = None) -> Entry | None:
    """The entry of a name: `family`, `family:size`, or either with a quantisation (`qwen3:4b:q8_0`, `qwen3:4b-q8_0`); case does
    not matter. Raises StoreError when the user's own catalogue cannot be read."""
    return load(data_dir).find(name)


def all(data_dir: Path | None = None) -> tuple[Entry, ...]:
    """Every entry, by task, family and size."""
    return load(data_dir).entries


def near(name: str, data_dir: Path | None = None) -> tuple[str, ...]:
    """At most three names of entries that look like this one."""
    return load(data_dir).near(name)
