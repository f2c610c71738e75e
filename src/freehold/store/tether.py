"""`python -m freehold.store.tether PROGRAM ARG…`: becomes that program, tied to the process that started it.

On Linux the kernel ends it when its parent dies, even by SIGKILL; elsewhere it runs to its end. Stdlib only, and quick.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives execve


def die_with_parent(number: signal.Signals) -> None:
    """Asks Linux to send that signal to this process when the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)
    if os.getppid() == 1:  # the parent was gone before that was armed
        sys.exit(1)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - becoming that program is what this is for
