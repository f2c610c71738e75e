"""Running a small program and reading what it says: the seam that recorded machines replace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NOT_FOUND = 127
TIMED_OUT = 124


@dataclass(frozen=True)
class Ran:
    """How a program ended: its exit code (negative: killed by that signal), and what it wrote."""

    code: int
    out: str = ""
    err: str = ""


Runner = Callable[[Sequence[str]], Ran]


def run(argv: Sequence[str], seconds: float = 10.0) -> Ran:
    """Runs a program without a shell. One that is missing ends with NOT_FOUND, one that takes too long with TIMED_OUT."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )
    except FileNotFoundError:
        return Ran(NOT_FOUND, err=f"{argv[0]} is not installed")
    except OSError as error:
        return Ran(126, err=f"{argv[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Ran(TIMED_OUT, err=f"{argv[0]} did not end within {seconds:g} s")
    return Ran(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
