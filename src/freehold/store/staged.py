"""A model on its way into the store: its files, already checked, and what is known of it beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from freehold.store.manifest import Engine, Example, File, Manifest, Role, Task
from freehold.store.progress import OnProgress
from freehold.store.store import Store


@dataclass(frozen=True)
class Part:
    """A file whose bytes have that digest. `path` is where it is staged; None for a blob that the store has already."""

    role: Role
    name: str
    digest: str
    path: Path | None

    def where(self, store: Store) -> Path:
        return self.path or store.path(File(self.role, self.name, self.digest, 1))


@dataclass(frozen=True)
class Terms:
    """What is known of a model beside its files; `task` None leaves it to them. Only files for llama.cpp tell what they are;
    another `engine` needs a task. `notes` are for the user, after the pull."""

    source: str
    task: Task | None = None
    engine: Engine = "llama.cpp"
    license: str | None = None
    description: str = ""
    sampling: Mapping[str, float | tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Staged:
    """A model's files before they are in the store, weights in their order; `folder` is theirs.

    `template` is the text of a chat template, `fallback` that of one for the case that the weights bring none of their own.
    """

    parts: tuple[Part, ...]
    terms: Terms
    folder: Path
    template: str | None = None
    fallback: str | None = None


class Source(Protocol):
    """A kind of reference. `stage` gives checked files for as long as its block runs."""

    @property
    def name(self) -> str:
        """The model's name when the user gives none. May ask the network."""

    def is_in(self, installed: Manifest) -> bool:
        """Whether a model of that name needs no work."""

    def stage(self, store: Store, report: OnProgress) -> contextlib.AbstractContextManager[Staged]: ...
