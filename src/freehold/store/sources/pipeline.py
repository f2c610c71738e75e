"""Pipelines of diffusers from a hub: first the index, which says what else is needed, then that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from freehold.errors import BadModelFile
from freehold.store import pipelines
from freehold.store.progress import OnProgress
from freehold.store.sources.remote import Remote, fetch_all
from freehold.store.staged import Staged, Terms
from freehold.store.store import Store

_LARGEST_INDEX = 1 << 20


@dataclass(frozen=True)
class Pipeline:
    """A repository with a pipeline: its name for people, and all its files by their paths."""

    name: str
    remotes: Mapping[str, Remote]


def fetch_pipeline(store: Store, found: Pipeline, folder: Path, report: OnProgress, terms: Terms) -> Staged:
    """The files that the pipeline is loaded from, staged and checked. Raises BadModelFile for one that is not taken, before its
    weights are fetched where names tell."""
    (index,) = fetch_all(store, (found.remotes[pipelines.INDEX],), folder, lambda progress: None)
    path = index.where(store)
    if path.stat().st_size > _LARGEST_INDEX:
        raise BadModelFile(f"The {pipelines.INDEX} of {found.name} is far too large.")
    names = pipelines.needed(found.remotes, pipelines.parsed(path.read_bytes()))
    parts = fetch_all(store, [found.remotes[name] for name in names], folder, report)
    there = {part.name: part.where(store) for part in parts}
    options = pipelines.options(there, found.name)
    return Staged(parts, replace(terms, task="image", engine="diffusers", options=options), folder)
