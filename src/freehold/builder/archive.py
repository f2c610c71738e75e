"""Taking a folder out of a tar archive that may be hostile.

Only plain files and folders below one prefix are written, with names that are checked first; links, devices and anything odd
are refused, and so is more than was announced. The tar's own modes, owners and times are not taken over.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from freehold.errors import DigestMismatch

_CHUNK = 1 << 20
_PART = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}")
_DEEPEST = 24


@dataclass(frozen=True)
class Limits:
    """Files, bytes of one file, and bytes altogether; what lies outside the prefix counts too, as it has to be unpacked."""

    files: int = 20_000
    file: int = 256 * 2**20
    total: int = 1 << 30


def unpack(
    archive: Path, prefix: str, target: Path, limits: Limits = Limits(), report: Callable[[int], None] = lambda written: None
) -> None:
    """Writes what is below `prefix` (it ends in "/") into the new folder `target`. `report` is told the bytes written so far.

    Raises DigestMismatch for an archive that is broken, hostile, or has nothing there; OSError when it cannot be written.
    """
    target.mkdir()
    try:
        with tarfile.open(archive, "r|gz") as tar:
            written = _all(tar, prefix, target, limits, report)
    except (tarfile.TarError, zlib.error, EOFError, UnicodeError, ValueError, OverflowError) as error:
        raise _strange(f"it cannot be read: {str(error)[:200]!a}") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _strange("it holds a name twice") from None
    if not written:
        raise _strange("the sources are not in it")


def _all(tar: tarfile.TarFile, prefix: str, target: Path, limits: Limits, report: Callable[[int], None]) -> int:
    """Returns how many bytes were written."""
    seen = total = written = 0
    for member in tar:
        seen, total = seen + 1, total + max(0, member.size)
        if seen > limits.files or total > limits.total or not 0 <= member.size <= limits.file:
            raise _strange("it holds far more than it should")
        if not member.name.startswith(prefix):
            continue
        place = _place(member.name.removeprefix(prefix), target)
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
        elif member.isreg() and (content := tar.extractfile(member)) is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            written += _copy(content, place, member.size)
            place.chmod(0o755 if member.mode & 0o100 else 0o644)
            report(written)
        else:
            raise _strange(f"{member.name[-80:]!a} is neither a file nor a folder")
    return written


def _place(name: str, target: Path) -> Path:
    """Where a member goes. No link is ever written, so a checked name cannot lead out of `target`."""
    parts = name.rstrip("/").split("/") if name else []
    if len(parts) > _DEEPEST or any(part in {"", ".", ".."} or not _PART.fullmatch(part) for part in parts):
        raise _strange(f"{name[-80:]!a} is no name of a file")
    return target.joinpath(*parts)


def _copy(content: IO[bytes], place: Path, size: int) -> int:
    left = size
    with place.open("xb") as sink:
        while left and (piece := content.read(min(_CHUNK, left))):
            sink.write(piece)
            left -= len(piece)
    if left:
        raise _strange("it ends too early")
    return size


def _strange(how: str) -> DigestMismatch:
    return DigestMismatch(
        f"The archive of the engine's sources is not what it should be: {how}.",
        "Do not trust that package registry before you know why: python3 -m pip config list",
    )
