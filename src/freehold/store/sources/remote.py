"""The files of one model from the network, with one progress over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold.store import disk
from freehold.store.manifest import File, Role
from freehold.store.progress import Meter, OnProgress
from freehold.store.sources.download import Download, Wanted
from freehold.store.staged import Part
from freehold.store.store import Store


@dataclass(frozen=True, eq=False)
class Remote:
    """A file of a model, and where it is to be had. `name` is for people."""

    role: Role
    name: str
    wanted: Wanted

    def in_store(self, store: Store) -> str | None:
        """The digest under which the store has it already."""
        if self.wanted.sha256 is None or self.wanted.size is None:
            return None
        digest = f"sha256:{self.wanted.sha256}"
        return digest if store.has_blob(File(self.role, self.name, digest, self.wanted.size)) else None


def fetch_all(store: Store, remotes: Sequence[Remote], folder: Path, report: OnProgress) -> tuple[Part, ...]:
    """All files, downloaded into `folder` and checked; those that the store has are not fetched."""
    here = {remote: digest for remote in remotes if (digest := remote.in_store(store))}
    missing = [remote for remote in remotes if remote not in here]
    sizes = [remote.wanted.size for remote in missing]
    total = sum(size for size in sizes if size is not None) if None not in sizes else None
    if total:
        disk.require(disk.free_bytes(store.data_dir), total - min(total, disk.tree_bytes(folder)))
    downloads = {}
    if missing:
        meter = Meter(report, "download", total)
        for remote in missing:
            downloads[remote] = Download(remote.wanted, folder / key_of(remote.wanted), meter)
            downloads[remote].complete()
        checked = Meter(report, "verify", sum(download.part.stat().st_size for download in downloads.values()))
        here |= {remote: download.verified(checked.add) for remote, download in downloads.items()}
    return tuple(
        Part(remote.role, remote.name, here[remote], downloads[remote].part if remote in downloads else None)
        for remote in remotes
    )


def key_of(wanted: Wanted) -> str:
    """The name of the folder that a download stands in: the same for the same file, whatever token its address carries."""
    known = wanted.sha256 or wanted.url
    return hashlib.sha256(known.encode()).hexdigest()[:32]
