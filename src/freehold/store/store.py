"""Models on disk: blobs named by their digest, and a manifest for each model that names its blobs.

    data_dir/models/blobs/sha256-<hex>        data_dir/staging/   files of pulls in progress
    data_dir/models/manifests/<name>.json     data_dir/locks/     one lock a model, one for the store
    data_dir/models/views/<key>/              links to the parts of one model, under the names by which an engine finds them

A manifest is written after its blobs and removed before them, so that whatever it names is there at any moment. Files of a
model that lie outside are used where they are: never copied, never removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from freehold.errors import DigestMismatch, NotInstalled, StoreError
from freehold.store import disk, seals
from freehold.store.locks import locked
from freehold.store.manifest import File, Manifest, Role, check_digest, dumps, loads
from freehold.store.names import check_name, file_name
from freehold.store.views import Views

_CHUNK = 1 << 20


@dataclass(frozen=True)
class DiskUsage:
    """Bytes of the blobs, of unfinished pulls, and free on that disk."""

    models: int
    staging: int
    free: int


class Store:
    """The models below one folder, shared by any number of processes. Raises StoreError and its kinds, nothing else."""

    def __init__(self, data_dir: Path):
        self.data_dir = Path(data_dir)
        self.staging = self.data_dir / "staging"
        self._blobs = self.data_dir / "models" / "blobs"
        self._manifests = self.data_dir / "models" / "manifests"
        self._views = Views(self.data_dir / "models" / "views")
        self._locks = self.data_dir / "locks"
        self.seals = self.data_dir / "models" / "seals"

    def list(self) -> list[Manifest]:
        """The installed models by name, without those whose manifest cannot be read (see `problems`)."""
        return sorted((found for found in self._read_all() if isinstance(found, Manifest)), key=lambda manifest: manifest.name)

    def problems(self) -> tuple[StoreError, ...]:
        """What `list` left out, and why."""
        return tuple(found for found in self._read_all() if isinstance(found, StoreError))

    def get(self, name: str) -> Manifest:
        """Raises NotInstalled, or StoreError when its manifest is corrupt."""
        try:
            text = _text(self._manifest(name))
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise NotInstalled(f"The model {name} is not installed.", f"Pull it: freehold pull {name}") from None
            raise
        return loads(text, name)

    def has(self, name: str) -> bool:
        """Whether the model is installed, with all of its files in their full size."""
        try:
            manifest = self.get(name)
        except StoreError:
            return False
        return all(self._is_there(file) for file in manifest.files) and self._views.has(manifest)

    def check(self, manifest: Manifest) -> None:
        """Raises StoreError, naming the file, when one of a model's files is gone or another than it was. Costs a stat each."""
        for file in manifest.files:
            if not self._is_there(file):
                how = "is gone" if not self.path(file).exists() else "has changed"
                where = f" at {file.path}" if file.path else ""
                remedy = (
                    "Pull it again." if file.path is None else "Whoever owns that file has changed it; see what is there now."
                )
                raise StoreError(f"The file {file.name} of the model {manifest.name} {how}{where}.", remedy)

    def has_blob(self, file: File) -> bool:
        """Whether the bytes of a file are there, in their full size."""
        return self._is_there(file)

    def stamp(self, name: str) -> tuple[int, int] | None:
        """Changes whenever the model is installed anew, by whichever process; None when it is not installed. Costs one stat."""
        try:
            found = self._manifest(name).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def path(self, file: File) -> Path:
        """Where the bytes of a model's file are."""
        return Path(file.path) if file.path is not None else self._blob(file.digest or "")

    def serving(self, manifest: Manifest, role: Role) -> Path | None:
        """What an engine is given for a role: the file, and of a model in several parts the first, beside the others."""
        files = manifest.all(role)
        if not files:
            return None
        return self._views.first(manifest) if role == "weights" and self._views.wanted(manifest) else self.path(files[0])

    def folder(self, manifest: Manifest) -> Path | None:
        """The folder of a model that is one, with its files under their own names."""
        return self._views.folder(manifest) if manifest.all("part") else None

    def seal(self, digest: str) -> Path:
        """Where it is recorded when the blob of that digest was last checked."""
        return self.seals / check_digest(digest).partition(":")[2]

    def add_blob(self, staged: Path, digest: str) -> Path:
        """Moves a file that has that digest (the caller has checked) into the store, and returns where it is."""
        with disk.translated(), self._changing():
            return self._add_blob(staged, digest)

    def save(self, manifest: Manifest) -> None:
        """Writes a manifest, in place of any of that name. Raises StoreError when one of its files is missing."""
        with disk.translated(), self._changing():
            self._save(manifest)

    def install(self, manifest: Manifest, staged: Mapping[str, Path]) -> Manifest:
        """Moves a model's staged files, by digest, into the store and writes its manifest; blobs that it replaced go."""
        with disk.translated(), self._changing():
            for digest, path in staged.items():
                self._add_blob(path, digest)
            self._save(manifest)
            self._sweep()
        return manifest

    def remove(self, name: str) -> None:
        """Removes a model, corrupt or not, and the blobs that no other model has. Raises NotInstalled."""
        with disk.translated(), self._changing():
            path = self._manifest(name)
            if not path.exists():
                raise NotInstalled(f"The model {name} is not installed.", "See what is: freehold list")
            path.unlink()
            disk.sync(self._manifests)
            self._sweep()

    def verify(self, name: str, on_bytes: Callable[[int], None] = lambda count: None) -> None:
        """Reads all files of a model again. Raises DigestMismatch when one is damaged, StoreError when one is gone."""
        manifest = self.get(name)
        self.check(manifest)
        for file in manifest.files:
            with disk.translated():
                if file.digest is not None and digest_of(self.path(file), on_bytes) != file.digest:
                    raise DigestMismatch(
                        f"The file {file.name} of the model {name} is damaged.",
                        f"Remove it and pull it again: freehold rm {name}",
                    )

    def disk_usage(self) -> DiskUsage:
        with disk.translated():
            return DiskUsage(disk.tree_bytes(self._blobs), disk.tree_bytes(self.staging), disk.free_bytes(self.data_dir))

    @contextlib.contextmanager
    def pulling(self, name: str) -> Iterator[None]:
        """Holds a model's lock for the length of a pull: another pull of it waits."""
        with locked(self._locks / f"{file_name(check_name(name))}.lock"):
            yield

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Holds the store's lock, for moments only: no blob goes while a manifest that names it is on its way."""
        for folder in (self._blobs, self._manifests):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(self._locks / "%store.lock"):  # no model's name gives this file name
            yield

    def _read_all(self) -> Iterator[Manifest | StoreError]:
        with disk.translated():
            try:
                paths = sorted(path for path in self._manifests.iterdir() if path.suffix == ".json" and path.name[0] != ".")
            except FileNotFoundError:
                return
        for path in paths:
            try:
                yield self._placed(loads(_text(path), _label(path)), path)
            except StoreError as error:
                if not isinstance(error.__cause__, FileNotFoundError):  # removed while we read
                    yield error

    def _placed(self, manifest: Manifest, path: Path) -> Manifest:
        if path != self._manifest(manifest.name):
            raise StoreError(f"The manifest of the model {_label(path)} names another model.", "Remove that file.")
        return manifest

    def _manifest(self, name: str) -> Path:
        return self._manifests / f"{file_name(check_name(name))}.json"

    def _blob(self, digest: str) -> Path:
        return self._blobs / check_digest(digest).replace(":", "-")

    def _is_there(self, file: File) -> bool:
        try:
            found = self.path(file).stat()
        except OSError:
            return False
        same = file.path is None or file.modified in (None, found.st_mtime_ns)
        return stat.S_ISREG(found.st_mode) and found.st_size == file.size and same

    def _add_blob(self, staged: Path, digest: str) -> Path:
        blob = self._blob(digest)
        disk.sync(staged)
        staged.chmod(0o444)
        staged.replace(blob)
        disk.sync(self._blobs)
        seals.write(self.seal(digest), seals.seal_of(blob))
        return blob

    def _save(self, manifest: Manifest) -> None:
        for file in manifest.files:
            if not self._is_there(file):
                raise StoreError(f"The file {file.name} of the model {manifest.name} is not in the store.", "Pull it again.")
        self._views.make(manifest, {file: self.path(file) for file in manifest.files})
        disk.write_atomically(self._manifest(manifest.name), dumps(manifest))

    def _sweep(self) -> None:
        """Removes the blobs and views that no manifest names. A corrupt manifest may name any of them: then all stay."""
        found = [*self._read_all()]
        manifests = [item for item in found if isinstance(item, Manifest)]
        if len(manifests) < len(found):
            return
        named = {self.path(file).name for manifest in manifests for file in manifest.files if file.path is None}
        for path in self._blobs.iterdir():
            if path.name not in named:
                path.unlink()
                (self.seals / path.name.removeprefix("sha256-")).unlink(missing_ok=True)
        self._views.sweep(manifests)


def digest_of(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    """ "sha256:<hex>" of a file; `on_bytes` hears of each piece read."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while piece := file.read(_CHUNK):
            digest.update(piece)
            on_bytes(len(piece))
    return f"sha256:{digest.hexdigest()}"


def _text(path: Path) -> str:
    """What is in a manifest's file. Raises StoreError."""
    with disk.translated(), open(path, encoding="utf-8", errors="replace", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            label = _label(path)
            raise StoreError(
                f"What is written down about the model {label} is not in a regular file.", f"Remove it: freehold rm {label}"
            )
        return file.read()


def _at_once(path: str, flags: int) -> int:
    """Opens a file, or whatever is in its place: a pipe that nobody writes to is not waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _label(path: Path) -> str:
    """The model that a manifest's file name speaks of, for messages."""
    return ascii(unquote(path.stem))[1:-1]
