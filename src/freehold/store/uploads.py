"""Files that clients have sent and that belong to no model yet, by their digests: for a day, data_dir/uploads/sha256-<hex>."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from freehold.errors import DigestMismatch, NotInstalled
from freehold.store import disk
from freehold.store.manifest import check_digest

_KEPT = 86_400.0  # seconds


class Uploads:
    def __init__(self, data_dir: Path):
        self._folder = data_dir / "uploads"

    def has(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Raises NotInstalled for what has not been sent, or was sent long ago, StoreError for what is no digest."""
        path = self._path(digest)
        if not path.is_file():
            raise NotInstalled(f"There is no uploaded file {digest}.", "Send it first: POST /api/blobs/<digest>")
        return path

    def begin(self, digest: str, size: int = 0) -> Upload:
        """A place for a file of that digest and of so many bytes. Old files go. Raises DiskFull when it has no room."""
        target = self._path(digest)
        with disk.translated():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in self._old():
                old.unlink(missing_ok=True)
            disk.require(disk.free_bytes(self._folder), size)
        return Upload(self._folder, target, digest)

    def _path(self, digest: str) -> Path:
        return self._folder / check_digest(digest).replace(":", "-")

    def _old(self) -> Iterator[Path]:
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _KEPT:
                    yield path


class Upload:
    """A file on its way: `write` its pieces, then `finish`. Left otherwise, nothing stays of it."""

    def __init__(self, folder: Path, target: Path, digest: str):
        with disk.translated():
            handle, name = tempfile.mkstemp(dir=folder)
        self._file = os.fdopen(handle, "wb")
        self._path: Path | None = Path(name)
        self._target = target
        self._wanted = digest
        self._digest = hashlib.sha256()

    def __enter__(self) -> Upload:
        return self

    def write(self, piece: bytes) -> None:
        self._digest.update(piece)
        with disk.translated():
            self._file.write(piece)

    def finish(self) -> None:
        """Raises DigestMismatch when the bytes are not those of the digest."""
        found = f"sha256:{self._digest.hexdigest()}"
        if found != self._wanted:
            raise DigestMismatch(f"The file has the digest {found}, not {self._wanted}.", "Send it again.")
        with disk.translated():
            self._file.close()
            if self._path is not None:
                self._path.replace(self._target)
                self._path = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
