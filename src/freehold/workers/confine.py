"""What a worker does to itself before it touches a model: dies with its parent, and has no network.

Linux only where it says so; elsewhere the pipe on stdin alone ties a worker to its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Confinement:
    """`network` is "none" in a namespace of its own, else "shared", with the reason."""

    network: str
    reason: str | None = None


def confine(parent: int, sandbox: str) -> None:
    """All of this module, in the order it needs; says on stdout how the worker is confined.

    `sandbox` is the setting engine.sandbox. Ends the process when it is "require" and the system refuses.
    """
    first_to_go()
    # The namespace must come before the first thread, so before the watch on stdin.
    confinement = Confinement("shared", "switched off") if sandbox == "off" else leave_the_network()
    no_core_dumps()
    os.umask(0o077)  # what it writes is its user's alone: sockets, and the KV cache of prompts
    die_with_parent(parent)
    print(json.dumps({"confinement": asdict(confinement)}), flush=True)  # noqa: T201
    if sandbox == "require" and confinement.network != "none":
        sys.exit(f"the sandbox is required, and this system refuses it: {confinement.reason}")


def die_with_parent(parent: int) -> None:
    """SIGKILL when the parent's thread ends (Linux), and exit when the pipe on stdin closes (everywhere).

    The first holds over an exec, the second does not.
    """
    end_with_parent()
    if sys.platform == "linux" and os.getppid() != parent:
        os._exit(0)  # the parent was gone before the signal was armed

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        _end()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def end_with_parent() -> None:
    """SIGKILL when the parent's thread ends; for processes whose parent is known to be there. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end() -> None:
    """Ends this process, and with it what it started where it leads a process group of its own, as workers do."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def leave_the_network() -> Confinement:
    """Moves this process into an empty network namespace. Must run while the process has one thread."""
    if sys.platform != "linux":
        return Confinement("shared", "only Linux has network namespaces")
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (_CLONE_NEWUSER | _CLONE_NEWNET, _CLONE_NEWNET):
        if libc.unshare(flags) == 0:
            return Confinement("none")
    return Confinement("shared", f"unshare: {os.strerror(ctypes.get_errno())}")


def first_to_go() -> None:
    """Asks Linux to end this process before others when memory runs out: a worker is started again, the server is not."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def no_core_dumps() -> None:
    """A core file would hold prompts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def hold(folder: Path) -> None:
    """Tells others that a worker runs from this folder, for as long as it lives: a shared lock, kept over an exec."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    os.set_inheritable(handle, True)


def bound_memory(mebibytes: int) -> None:
    """Memory beyond that is refused to this process, mapped files apart (RLIMIT_DATA); 0 sets no bound."""
    if mebibytes:
        resource.setrlimit(resource.RLIMIT_DATA, (mebibytes * 2**20, mebibytes * 2**20))
