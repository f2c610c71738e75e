"""What a file looked like when its bytes were last checked: while it looks the same, they need not be read again.

    data_dir/models/seals/<hex>     {"size", "modified", "changed", "inode"} of the blob of that digest, times in ns

A write changes `changed` (ctime), which no program can set back. What the disk itself loses, no seal shows: `freehold verify`.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Seal:
    size: int
    modified: int
    changed: int
    inode: int


def seal_of(path: Path) -> Seal:
    """The file's seal as it is now. Raises OSError."""
    found = path.stat()
    return Seal(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def read(record: Path) -> Seal | None:
    """What was recorded; None when nothing readable was."""
    try:
        return Seal(**json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write(record: Path, seal: Seal) -> None:
    """Records a seal. Where that cannot be done, nothing is recorded: the bytes are read again next time."""
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=record.parent, prefix=".new-", delete=False) as file:
            file.write(json.dumps(asdict(seal)))
        Path(file.name).replace(record)
