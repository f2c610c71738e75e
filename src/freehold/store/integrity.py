"""Whether a model's files still are what was installed.

A file that has a digest is read again when it does not look as it did when it was last read (see `seals`); one that is used
where it lies, and of which nobody knows a digest, must have its size and the time of its last change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import DigestMismatch, StoreError
from freehold.store import seals
from freehold.store.manifest import File, Manifest
from freehold.store.store import Store, digest_of

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Pin:
    """A file of a model and what it must be: `digest` where one is known, else `size` and `modified` (ns). `record` is where
    its seal is kept."""

    model: str
    name: str
    path: Path
    size: int
    digest: str | None
    modified: int | None
    record: Path


def pins(store: Store, manifest: Manifest) -> tuple[Pin, ...]:
    """All files of a model."""
    return tuple(_pin(store, manifest, file) for file in manifest.files)


def check(pins: tuple[Pin, ...], on_bytes: OnBytes = lambda count: None) -> None:
    """Raises DigestMismatch for a file whose bytes are not those installed, StoreError for one that is gone or unreadable.

    Costs a stat a file, and its reading where it has changed since it was last read; `on_bytes` hears of that.
    """
    for pin in pins:
        _check(pin, on_bytes, trust_seal=True)


def scrub(pins: tuple[Pin, ...], on_bytes: OnBytes = lambda count: None) -> None:
    """Like `check`, but reads every file that has a digest, however it looks."""
    for pin in pins:
        _check(pin, on_bytes, trust_seal=False)


def to_read(pins: tuple[Pin, ...]) -> int:
    """Bytes that `scrub` reads."""
    return sum(pin.size for pin in pins if pin.digest is not None)


def _check(pin: Pin, on_bytes: OnBytes, *, trust_seal: bool) -> None:
    try:
        before = seals.seal_of(pin.path)
        if pin.digest is None:
            if before.size != pin.size or pin.modified not in (None, before.modified):
                raise StoreError(f"{_file(pin)} has changed since it was found.", "See what is there now: freehold list --all")
            return
        if trust_seal and before == seals.read(pin.record):
            return
        if before.size != pin.size or digest_of(pin.path, on_bytes) != pin.digest:
            pin.record.unlink(missing_ok=True)
            raise DigestMismatch(f"{_file(pin)} is damaged: its bytes are not those that were installed.", _again(pin))
        if seals.seal_of(pin.path) == before:
            seals.write(pin.record, before)
    except FileNotFoundError:
        raise StoreError(f"{_file(pin)} is gone.", _again(pin)) from None
    except OSError as error:
        raise StoreError(f"{_file(pin)} cannot be read: {error.strerror}.", _again(pin)) from error


def _pin(store: Store, manifest: Manifest, file: File) -> Pin:
    path = store.path(file)
    own = file.path is None
    record = (
        store.seal(file.digest or "") if own else store.seals / hashlib.sha256(f"{path} {file.digest}".encode()).hexdigest()
    )
    return Pin(manifest.name, file.name, path, file.size, file.digest, file.modified, record)


def _file(pin: Pin) -> str:
    return f"The file {pin.name} of the model {pin.model}"


def _again(pin: Pin) -> str:
    return f"Remove the model and pull it again: freehold rm {pin.model}"
