"""Taking a folder out of a tar archive that may be hostile.

Only plain files and folders below one prefix are written, with names that are checked first; links, devices and anything odd
are refused, and so is more than was announced. The tar's own modes, owners and times are not taken over.
"""

from __future__ import annotations

import lzma
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


@dataclass(frozen=True)
class Suspicion:
    """How it is said that an archive is not what it should be."""

    what: str = "The archive of the engine's sources"
    remedy: str = "Do not trust that package registry before you know why: python3 -m pip config list"

    def strange(self, how: str) -> DigestMismatch:
        return DigestMismatch(f"{self.what} is not what it should be: {how}.", self.remedy)


class _Strange(Exception):
    """With the reason."""


def unpack(
    archive: Path,
    prefix: str,
    target: Path,
    limits: Limits = Limits(),
    report: Callable[[int], None] = lambda written: None,
    *,
    keep: Callable[[str], bool] = lambda name: True,
    suspicion: Suspicion = Suspicion(),
) -> None:
    """Writes what is below `prefix` (it ends in "/") into the new folder `target`; of its files, those whose path `keep` wants.
    The compression may be gzip, bzip2 or xz. `report` is told the bytes written so far.

    Raises DigestMismatch for an archive that is broken, hostile, or has nothing there; OSError when it cannot be written.
    """
    target.mkdir()
    try:
        with tarfile.open(archive, "r|*") as tar:
            written = _all(tar, prefix, target, limits, report, keep=keep)
    except _Strange as error:
        raise suspicion.strange(str(error)) from None
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, UnicodeError, ValueError, OverflowError) as error:
        raise suspicion.strange(f"it cannot be read: {str(error)[:200]!a}") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise suspicion.strange("it holds a name twice") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise suspicion.strange(f"it cannot be read: {str(error)[:200]!a}") from None  # bzip2's way to say so
    if not written:
        raise suspicion.strange("the wanted files are not in it")


def _all(
    tar: tarfile.TarFile,
    prefix: str,
    target: Path,
    limits: Limits,
    report: Callable[[int], None],
    *,
    keep: Callable[[str], bool],
) -> int:
    """Returns how many bytes were written."""
    seen = total = written = 0
    for member in tar:
        seen, total = seen + 1, total + max(0, member.size)
        if seen > limits.files or total > limits.total or not 0 <= member.size <= limits.file:
            raise _Strange("it holds far more than it should")
        path = member.name.removeprefix("./")
        if not path.startswith(prefix):
            continue
        name = path.removeprefix(prefix)
        if not member.isdir() and not keep(name):
            continue
        place = _place(name, target)
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
        elif member.isreg() and (content := tar.extractfile(member)) is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            written += _copy(content, place, member.size)
            place.chmod(0o755 if member.mode & 0o100 else 0o644)
            report(written)
        else:
            raise _Strange(f"{name[-80:]!a} is neither a file nor a folder")
    return written


def _place(name: str, target: Path) -> Path:
    """Where a member goes. No link is ever written, so a checked name cannot lead out of `target`."""
    parts = name.rstrip("/").split("/") if name else []
    if len(parts) > _DEEPEST or any(part in {"", ".", ".."} or not _PART.fullmatch(part) for part in parts):
        raise _Strange(f"{name[-80:]!a} is no name of a file")
    return target.joinpath(*parts)


def _copy(content: IO[bytes], place: Path, size: int) -> int:
    left = size
    with place.open("xb") as sink:
        while left and (piece := content.read(min(_CHUNK, left))):
            sink.write(piece)
            left -= len(piece)
    if left:
        raise _Strange("it ends too early")
    return size
