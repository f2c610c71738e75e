"""GGUF files that are already on this machine: copied, so that what their owner does to them later is theirs."""

from __future__ import annotations

import contextlib
import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import BadModelFile, DigestMismatch, StoreError
from freehold.hardware.gguf import read_header
from freehold.store import disk
from freehold.store.manifest import Manifest, Role
from freehold.store.names import name_for
from freehold.store.parts import siblings, whole_name
from freehold.store.progress import Meter, OnProgress
from freehold.store.staged import Part, Staged, Terms
from freehold.store.staging import temporary
from freehold.store.store import Store

_CHUNK = 1 << 20


@dataclass(frozen=True)
class FromFile:
    """A source: the file at `path`, with the others of its parts, and the sha256 (64 hex digits) where it was given.

    `projector` is the file that lets the model see.
    """

    path: Path
    sha256: str | None
    projector: Path | None = None

    @property
    def name(self) -> str:
        return name_for(whole_name(self.path.name))

    def is_in(self, installed: Manifest) -> bool:
        return False  # only its bytes would tell, and they are about to be read

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        paths = [self.path.parent / name for name in siblings(self.path.name)]
        if self.sha256 and len(paths) > 1:
            raise StoreError("A model in several parts has no single digest.", "Leave --sha256 out.")
        for path in paths if len(paths) > 1 else ():
            if not path.exists():
                raise BadModelFile(
                    f"{path.name!a}, a part of this model, is missing.", "All parts are needed, side by side in one folder."
                )
        sizes = [size_of(path) for path in (*paths, *([self.projector] if self.projector else []))]
        disk.require(disk.free_bytes(store.data_dir), sum(sizes))
        with temporary(store.staging) as folder:
            meter = Meter(report, "install", sum(sizes))
            parts = [copied(path, folder / str(number), meter) for number, path in enumerate(paths)]
            if self.sha256 and parts[0].digest != f"sha256:{self.sha256}":
                raise DigestMismatch(f"{self.path.name!a} does not have the sha256 that was given.", "Check both.")
            if self.projector is not None:
                parts.append(copied(self.projector, folder / "projector", meter, "projector"))
            yield Staged(tuple(parts), Terms("file"), folder)


def size_of(path: Path) -> int:
    """Bytes of a file that can be a model. Raises StoreError, or BadModelFile for what cannot be one."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadModelFile(f"{path.name!a} is not a file.", "Name the GGUF file itself.")
        read_header(path)  # before gigabytes are copied
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "this is no path"
        raise StoreError(f"{path.name!a} cannot be read: {reason}.", "Check the path and its permissions.") from None
    return found.st_size


def copied(path: Path, target: Path, meter: Meter, role: Role = "weights", name: str = "") -> Part:
    """A staged copy of a file. `name` is its own, where that is not given."""
    digest = hashlib.sha256()
    with disk.translated(), path.open("rb", buffering=0) as source, target.open("xb") as sink:
        while piece := source.read(_CHUNK):
            digest.update(piece)
            sink.write(piece)
            meter.add(len(piece))
    return Part(role, name or path.name, f"sha256:{digest.hexdigest()}", target)
