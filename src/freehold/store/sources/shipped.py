"""The drawing model that comes with Freehold: its weights lie in the package, its text model is the starter embedding model."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar

from freehold.errors import DigestMismatch, StoreError
from freehold.store.manifest import Manifest
from freehold.store.progress import OnProgress
from freehold.store.sources.pypi import FromStarter
from freehold.store.staged import Part, Staged, Terms
from freehold.store.staging import temporary
from freehold.store.starter import STARTERS
from freehold.store.store import Store

PICTOGRAM = "pictogram"
_WEIGHTS = "pictogram.safetensors"
_SHA256 = "edc03bcf9ea25b484bbcae0b98d016974425869d3a7df79ab9ade7646d294c5f"
TEXT_MODEL = "all-minilm:22m"
_MEMORY = 256 * 2**20  # bytes: as measured (models/pictogram/README.md), with a little room


@dataclass(frozen=True)
class FromFreehold:
    """A source: the pictogram model. Its text model is taken from the store where the starter is installed, else pulled."""

    name: str = PICTOGRAM
    source: ClassVar[str] = "package:freehold"

    def is_in(self, installed: Manifest) -> bool:
        """Not what another version of Freehold installed that knew less, or else, of the same weights."""
        weights = installed.file("weights")
        same = weights is not None and weights.digest == f"sha256:{_SHA256}"
        return same and dict(installed.options) == _terms().options

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        with contextlib.ExitStack() as held:
            folder = held.enter_context(temporary(store.staging))
            data = _shipped()
            encoder = _installed(store) or _pulled(held, store, report)
            weights = folder / _WEIGHTS
            weights.write_bytes(data)
            yield Staged((Part("weights", _WEIGHTS, f"sha256:{_SHA256}", weights), encoder), _terms(), folder)


def _shipped() -> bytes:
    """The weights in the package. Raises DigestMismatch."""
    data = b""
    with contextlib.suppress(OSError):
        data = (files("freehold.store") / "shipped" / _WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise DigestMismatch(f"{_WEIGHTS} in this installation is missing or damaged.", "Install Freehold anew.")
    return data


def _terms() -> Terms:
    return Terms(
        source=FromFreehold.source,
        task="image",
        engine="pictogram",
        license="OFL-1.1",
        description="Freehold's own drawing model: pictograms of 128 x 128 pixels from words, in a second, on any machine.",
        options={
            "size": 128,
            "one_size": True,
            "steps": 8,
            "guidance": 2.0,
            "slots": 1,
            "memory_bytes": _MEMORY,
        },
    )


def _installed(store: Store) -> Part | None:
    if not store.has(TEXT_MODEL):
        return None
    with contextlib.suppress(StoreError):
        manifest = store.get(TEXT_MODEL)
        found = manifest.file("weights")
        if manifest.source == STARTERS[TEXT_MODEL].source and found is not None and found.digest is not None:
            return Part("encoder", found.name, found.digest, None)
    return None


def _pulled(held: contextlib.ExitStack, store: Store, report: OnProgress) -> Part:
    staged = held.enter_context(FromStarter(STARTERS[TEXT_MODEL]).stage(store, report))
    (part,) = (part for part in staged.parts if part.role == "weights")
    return Part("encoder", part.name, part.digest, part.path)
