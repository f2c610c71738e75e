"""Other programs that want every core: what a model must hold its speed against."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# Nothing but work, until its parent is gone: it is told the parent's id, so that no moment is too early to notice.
_SPIN = "import os, sys\nparent = int(sys.argv[1])\nwhile os.getppid() == parent:\n    sum(range(20_000))"


@contextlib.contextmanager
def competing(cores: int) -> Iterator[None]:
    """Keeps that many cores busy, at the usual priority, for as long as the block runs."""
    argv = [sys.executable, "-I", "-S", "-c", _SPIN, str(os.getpid())]
    with contextlib.ExitStack() as stack:
        for _ in range(cores):
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield
