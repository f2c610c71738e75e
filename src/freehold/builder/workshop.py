"""Where engines are made before they are moved into place.

data_dir/engines/.work/<name>/      stays after a failed or interrupted try, and the next one goes on from it
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from freehold.errors import StoreError
from freehold.store import disk
from freehold.store.locks import try_folder

_WORK = ".work"


def clear(root: Path, name: str) -> bool:
    """Removes what an unfinished build left behind; False when there is nothing, StoreError while it is being made."""
    work = root / _WORK / name
    if not work.is_dir():
        return False
    with _locked(work):
        shutil.rmtree(work, ignore_errors=True)
    return True


@contextlib.contextmanager
def working(root: Path, name: str, stamp: list[Any]) -> Iterator[Path]:
    """The work folder of a build, empty unless it was left by one with the same stamp; gone after success."""
    work = root / _WORK / name
    with disk.translated():
        work.mkdir(parents=True, exist_ok=True)
    with _locked(work):
        with disk.translated():
            _emptied_unless(work, json.dumps(stamp))
        yield work
        shutil.rmtree(work, ignore_errors=True)


def _emptied_unless(work: Path, stamp: str) -> None:
    note = work / "stamp.json"
    if not note.is_file() or note.read_text(encoding="utf-8", errors="replace") != stamp:
        for path in work.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        disk.write_atomically(note, stamp)


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    handle = try_folder(work)
    if handle is None:
        raise StoreError(f"The engine {work.name} is being made by another process.", "Wait until that is done.")
    try:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def staging(work: Path) -> Iterator[Path]:
    """A folder for the finished files, gone if they are not moved away."""
    staged = work / secrets.token_hex(6)
    with disk.translated():
        staged.mkdir()
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)
