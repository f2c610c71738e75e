"""Small files in the data folder: written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Puts them in place of what the file held; its folder is made where there is none. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def replace(path: Path, text: str) -> None:
    """Puts a text in place of what the file held, by way of a temporary file that is on the disk before. Raises OSError."""
    descriptor, staged = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(staged).replace(path)
    except BaseException:  # also Ctrl-C: what is half written is not left behind
        with contextlib.suppress(OSError):
            Path(staged).unlink()
        raise
