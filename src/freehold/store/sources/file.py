"""A GGUF file that is already on this machine."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from freehold.errors import BadModelFile, StoreError
from freehold.hardware.gguf import read_header
from freehold.store import disk
from freehold.store.progress import Meter, OnProgress

_CHUNK = 1 << 20


def size_of(path: Path) -> int:
    """Bytes of a file that can be a model. Raises StoreError, or BadModelFile for what cannot be one."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadModelFile(f"{path.name!a} is not a file.", "Name the GGUF file itself.")
        read_header(path)  # before gigabytes are copied
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "this is no path"
        raise StoreError(f"{path.name!a} cannot be read: {reason}.", "Check the path and its permissions.") from None
    return found.st_size


def fetch(path: Path, target: Path, size: int, report: OnProgress) -> str:
    """Copies the file to `target` and returns its digest, "sha256:<hex>". A copy: what its owner does to it later is theirs."""
    digest = hashlib.sha256()
    meter = Meter(report, "install", size)
    with disk.translated(), path.open("rb", buffering=0) as source, target.open("xb") as sink:
        while piece := source.read(_CHUNK):
            digest.update(piece)
            sink.write(piece)
            meter.add(len(piece))
    return f"sha256:{digest.hexdigest()}"
