"""Databases for tests: SQLite by itself, and a PostgreSQL server of the test's own where its programs are installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

DATABASES = ("sqlite", "postgresql")


@cache
def _programs() -> Path | None:
    """The folder of initdb and postgres: on PATH, or where Debian has them."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    return next((folder for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@contextlib.contextmanager
def database(kind: str) -> Iterator[Mapping[str, str]]:
    """The environment that makes a server use such a database; SQLite lies in the server's own folder."""
    if kind == "sqlite":
        yield {}
        return
    with postgresql() as url:
        yield {"FREEHOLD_STATE_URL": url}


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database. Skips the test where PostgreSQL is not installed, or will not start."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="fh-pg-"))
    as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    if as_user:
        shutil.chown(folder, "nobody", "nogroup")
    made = [
        *as_user,
        str(programs / "initdb"),
        "-D",
        f"{folder}/data",
        "-U",
        "freehold",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    try:
        started = subprocess.run(made, capture_output=True, text=True, cwd="/", check=False)
        if started.returncode:
            pytest.skip(f"PostgreSQL cannot be set up here: {started.stderr.strip()[-200:]}")
        options = f"-k {folder} -c listen_addresses= -c shared_buffers=8MB -c max_connections=10"
        control = [*as_user, str(programs / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log"]
        subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd="/")
        try:
            yield f"postgresql://freehold@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd="/")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
