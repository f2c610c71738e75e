"""Writing to disk so that a crash leaves the old or the new, and a full disk is told as such."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from freehold.errors import DiskFull, StoreError
from freehold.hardware import records

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM = "Make room on that disk, or keep the models on another: set data_dir."


def megabytes(count: int) -> str:
    """Bytes for people: "93 MB", "4.7 GB"."""
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """What the operating system refuses becomes DiskFull or StoreError; the path stays out of the message."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull("The disk that holds the models is full.", ROOM) from error
        reason = error.strerror or type(error).__name__
        raise StoreError(f"The model store cannot be used: {reason}.", "Check that this user may write to data_dir.") from error


def require(free: int, needed: int) -> None:
    """Raises DiskFull when `needed` bytes are not free."""
    if free < needed:
        raise DiskFull(f"This needs {megabytes(needed)} of disk, and {megabytes(free)} are free.", ROOM)


def free_bytes(folder: Path) -> int:
    """Free bytes where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def tree_bytes(folder: Path) -> int:
    """Bytes of all files below a folder that others may be changing at the same time."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - called many times a second
    return total


def sync(path: Path) -> None:
    """Waits until a file's bytes, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file as a whole: temporary file, fsync, rename, fsync of the folder."""
    records.replace(path, text)
    sync(path.parent)
