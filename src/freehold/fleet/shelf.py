"""Where engines lie on disk, llama.cpp's builds and environments of Python packages alike: how one comes, and how it goes.

data_dir/engines/<name>/manifest.json       what it is; replaced as a whole, so it is there or it is not
data_dir/engines/<name>/<folder>/           its files
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.errors import StoreError
from freehold.store import disk
from freehold.store.locks import locked, try_folder

_MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 1 << 16
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_FOLDER = re.compile(r"[a-z0-9]{1,40}")


def folder(data_dir: Path) -> Path:
    """Where engines are kept; the `root` of the functions below."""
    return data_dir / "engines"


def names(root: Path) -> list[str]:
    """All that could be engines, by name."""
    return sorted(path.name for path in root.iterdir() if is_name(path.name)) if root.is_dir() else []


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def read(root: Path, name: str) -> tuple[Path, Mapping[str, Any]] | None:
    """An engine's folder and what is written down about it; None where that cannot be read or its files are gone."""
    path = root / name / _MANIFEST
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            return None
        table = json.loads(path.read_text(encoding="utf-8"))
        inner = table["folder"]
        if not _FOLDER.fullmatch(inner) or not (root / name / inner).is_dir():
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return root / name / inner, table


def put(root: Path, name: str, table: Mapping[str, Any], staged: Path) -> None:
    """Moves an engine's files into place and makes it the one of its name; the old one, if any, is there until then.

    `staged` must be on the same file system as `root`. Raises StoreError, DiskFull.
    """
    home = root / name
    with disk.translated(), locked(root / ".lock"):
        home.mkdir(parents=True, exist_ok=True)
        final = home / staged.name
        staged.rename(final)
        disk.sync(home)
        disk.write_atomically(home / _MANIFEST, json.dumps({"folder": final.name, **table}, indent=1) + "\n")
        for old in home.iterdir():  # a folder that a worker still runs from goes next time
            if old.is_dir() and old != final and not in_use(old):
                shutil.rmtree(old, ignore_errors=True)


def take(root: Path, name: str) -> None:
    """Removes an engine. Raises StoreError when a worker runs on it."""
    with disk.translated(), locked(root / ".lock"):
        found = read(root, name)
        if found and in_use(found[0]):
            raise StoreError(f"The engine {name} runs a model now.", "Stop the server first, or wait until that model is gone.")
        (root / name / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(root / name, ignore_errors=True)


def in_use(files: Path) -> bool:
    """Whether a worker runs from that folder: it holds a shared lock on it for as long as it lives."""
    handle = try_folder(files)
    if handle is None:
        return files.exists()
    os.close(handle)
    return False
