"""Running a long program: line by line, with low priority, and with an end that takes along all it started."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_NICE = 10
_GRACE = 5.0  # seconds in which a program may remove what it had half written
_KEPT_LINES = 400


def run(
    argv: Sequence[str], cwd: Path, log: Path, each: Callable[[str], None], env: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """Runs a program to its end: its exit code, and its last lines, of both outputs. All of them go to `log`, at its end.

    When this is left early, by Ctrl-C say, the program and its children are asked to end, then killed. Raises OSError when it
    cannot be started.
    """
    lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "freehold.store.tether", *argv],
        cwd=cwd,
        env=os.environ | {"LC_ALL": "C"} | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)  # its children inherit it
        with log.open("ab") as sink, process.stdout as output:  # type: ignore[union-attr]
            for raw in output:
                sink.write(raw)
                line = raw.decode("utf-8", "replace").rstrip()
                lines.append(line)
                each(line)
        return process.wait(), list(lines)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _signal(process, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
