"""`python -m freehold.workers.own PROGRAM ARG…`: runs a program of the user's, in whose process group all ends with the server.

It stays beside the program, whose end it passes on as its own. The server holds the other end of its stdin: when that closes,
however the server ended, the group is killed. Stdlib only, and quick.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

from freehold.workers.confine import first_to_go, no_core_dumps


def main() -> None:
    first_to_go()
    no_core_dumps()
    try:
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except (OSError, ValueError) as error:
        sys.exit(f"error: the program {sys.argv[1]!r} cannot be started: {getattr(error, 'strerror', None) or error}")
    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the program gets it too, being of the group; this waits for its end
    _end_as(child.wait())


def _watch() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _end_as(code: int) -> None:
    """Ends like the program did: by the same signal, or with the same status."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    sys.exit(code if code >= 0 else 1)


if __name__ == "__main__":
    main()
