"""The user's own pip, run as a program, so that its mirror, proxy and certificates are honoured."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from freehold.errors import DiskFull, SourceUnreachable
from freehold.store import disk

CONFIGURATION = "Check the network, and the mirror, proxy and certificates that pip uses: python3 -m pip config list"
NOT_THE_USERS = {"PIP_USER": "0", "PIP_TARGET": "", "PIP_PREFIX": ""}  # where things go is not up to the user's configuration
_LOOK = 0.2  # seconds between two looks at how far pip is
_QUIET = ("--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar", "off")


def command(*arguments: str) -> list[str]:
    """An argv. -P: a folder named "pip" where the user happens to stand is not imported."""
    return [sys.executable, "-P", "-m", "pip", *arguments]


def run(
    arguments: Sequence[str], folder: Path, what: str, look: Callable[[], None], env: Mapping[str, str] | None = None
) -> None:
    """Runs `pip ARGUMENTS` (download or install) to its end, with its scratch files and its log in `folder`.

    `look` is called a few times a second meanwhile. When this process is to end first, pip ends too. Raises DiskFull, or
    SourceUnreachable saying that `what` cannot be downloaded and why.
    """
    scratch, log = folder / "tmp", folder / "pip.log"
    scratch.mkdir(exist_ok=True)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "freehold.store.tether", *command(*arguments, *_QUIET)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=sink,
            env=os.environ | {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"} | dict(env or {}),
            start_new_session=True,
        )
        try:
            while (code := _ended(process)) is None:
                look()
        finally:
            _kill(process)
    if code:
        _refuse(what, log.read_text(encoding="utf-8", errors="replace"))


def reason(said: str) -> str:
    """The one thing in pip's complaints that a person can use."""
    broken = re.search(r"(?:connection broken by|Could not fetch URL \S+:) (.*)", said)
    if broken:
        # NewConnectionError("HTTPConnection(host='127.0.0.1', port=9): Failed to establish … [Errno 111] Connection refused"))…
        host = re.search(r"host='([^']+)'", broken[1])
        why = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(certificate verify failed[^'\")]*)|([Tt]imed? ?out)", broken[1])
        found = next((part for part in why.groups() if part), "no connection").strip() if why else broken[1].rstrip(": ")[:200]
        return f"{host[1]}: {found}" if host else found
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR: ")]
    told = lines[0] if lines else " ".join(said.split())  # of a broken configuration it complains in other words
    return (told or "pip ended without a reason").rstrip(".")[:300]


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _refuse(what: str, said: str) -> None:
    if re.search("No space left on device|Disk quota exceeded|File too large", said):
        raise DiskFull("The disk filled up during the download.", disk.ROOM)
    raise SourceUnreachable(f"{what} cannot be downloaded from the package registry: {reason(said)}.", CONFIGURATION)
