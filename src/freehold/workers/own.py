"""Runs another maker's engine, in whose process group all ends with the server.

    python -m freehold.workers.own FOLDER PROGRAM ARG…

FOLDER, unless it is empty, is where the engine is installed, and held for as long as this runs. It stays beside the program,
whose end it passes on as its own. The server holds the other end of its stdin: when that closes, however the server ended, the
group is killed. Stdlib only, and quick.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from freehold.workers.confine import first_to_go, hold, no_core_dumps


def main() -> None:
    first_to_go()
    no_core_dumps()
    folder, *words = sys.argv[1:]
    if folder:
        hold(Path(folder))
    try:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    except (OSError, ValueError) as error:
        sys.exit(f"error: the program {words[0]!r} cannot be started: {getattr(error, 'strerror', None) or error}")
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
