"""Folders for the files of pulls in progress. What a dead process left behind, the next pull clears away.

A folder's own lock says whether its pull lives: the kernel frees it with the process. A resumable folder outlives its
pull, for a week.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from freehold.errors import StoreError
from freehold.store.locks import locked, try_folder

_RESUMABLE = "resume-"
_KEPT = 7 * 86400.0  # seconds


@contextlib.contextmanager
def temporary(staging: Path) -> Iterator[Path]:
    """A folder that is gone afterwards, whatever happened."""
    with _creating(staging):
        folder = Path(tempfile.mkdtemp(dir=staging, prefix="pull-"))
        handle = try_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def resumable(staging: Path, key: str) -> Iterator[Path]:
    """The folder of that key, which stays when the block is left by an error, and is gone after success.

    Raises StoreError when another pull is using it.
    """
    with _creating(staging):
        folder = staging / f"{_RESUMABLE}{key}"
        folder.mkdir(exist_ok=True)
        handle = try_folder(folder)
    if handle is None:
        raise StoreError("The same file is being pulled under another name.", "Wait until that is done, then try again.")
    try:
        os.utime(folder)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _creating(staging: Path) -> Iterator[None]:
    """Sweeps, then holds the lock under which folders are made: none is seen before it is locked."""
    staging.mkdir(parents=True, exist_ok=True)
    with locked(staging.parent / "locks" / "%staging.lock"):
        for folder in staging.iterdir():
            _sweep(folder)
        yield


def _sweep(folder: Path) -> None:
    """Removes a folder whose pull is dead, unless it can still be resumed."""
    handle = try_folder(folder)
    if handle is None:
        return
    try:
        if not folder.name.startswith(_RESUMABLE) or time.time() - folder.stat().st_mtime > _KEPT:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)
