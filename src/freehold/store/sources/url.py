"""A file at an https:// address. Without a sha256, the one that it has the first time is pinned for the next."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from freehold.errors import DigestMismatch
from freehold.store.manifest import Manifest
from freehold.store.names import name_for
from freehold.store.pins import Pins
from freehold.store.progress import OnProgress
from freehold.store.sources import addresses
from freehold.store.sources.download import Wanted
from freehold.store.sources.remote import Remote, fetch_all
from freehold.store.staged import Staged, Terms
from freehold.store.staging import resumable
from freehold.store.store import Store


@dataclass(frozen=True)
class FromAddress:
    """A source: one GGUF file at `url`, which has been checked, with the sha256 (64 hex digits) where it was given."""

    url: str
    sha256: str | None

    @property
    def name(self) -> str:
        return name_for(self._file_name)

    def is_in(self, installed: Manifest) -> bool:
        weights = installed.file("weights")
        return self.sha256 is not None and weights is not None and weights.digest == f"sha256:{self.sha256}"

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        pins = Pins(store.data_dir)
        pinned = pins.get(self.url)
        wanted = Wanted(self.url, self.sha256 or pinned)
        key = hashlib.sha256(f"{wanted.sha256} {self.url}".encode()).hexdigest()[:32]
        with resumable(store.staging, key) as folder:
            try:
                (part,) = fetch_all(store, [Remote("weights", self._file_name, wanted)], folder, report)
            except DigestMismatch as error:
                if self.sha256 or not pinned:
                    raise
                raise DigestMismatch(
                    f"The file at {wanted.host} is not the one that it was at the first download (sha256 {pinned}).",
                    "If that is as it should be, give the new one's digest: --sha256 <64 hex digits>",
                ) from error
            digest = part.digest.removeprefix("sha256:")
            pins.put(self.url, digest)
            notes = () if wanted.sha256 else (f"It came without a digest. Its sha256 is pinned from now on: {digest}",)
            yield Staged((part,), Terms(addresses.public(self.url), notes=notes), folder)

    @property
    def _file_name(self) -> str:
        return unquote(urlsplit(self.url).path).rpartition("/")[2]
