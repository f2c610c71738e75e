"""The command line as a person runs it: a process, its two outputs, its exit code."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import FREEHOLD

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A clean one: nobody's settings, a home of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FREEHOLD_", "XDG_"))}
    return kept | {"HOME": str(home), "COLUMNS": "100"} | dict(extra or {})


def run(home: Path, *arguments: object, env: Mapping[str, str] | None = None, typed: str = "", within: float = 120) -> Result:
    """Runs `freehold` to its end."""
    done = subprocess.run(
        [FREEHOLD, *map(str, arguments)],
        check=False,
        env=environment(home, env),
        cwd=home,
        input=typed,
        capture_output=True,
        text=True,
        timeout=within,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def stranger(folder: Path) -> Iterator[int]:
    """The port of a web server that is not Freehold."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout
            found = re.search(r"port (\d+)", process.stdout.readline())
            assert found
            yield int(found[1])
        finally:
            process.kill()


def assert_one_line(result: Result, code: int, *words: str) -> None:
    """The command failed as a command should: one line on standard error that says what and what to do, no traceback."""
    assert result.code == code, result
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result
    assert "Traceback" not in result.err
    for word in words:
        assert word in lines[0], result
