"""Engines that a command starts: the fake engine over TCP and on a unix socket, and a second Freehold."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.fleet.vitals import resident_bytes
from tests.conftest import FREEHOLD, Server, fake_model, until
from tests.gateway.test_external import gateway

FAKE = [sys.executable, "-m", "freehold.workers.fake"]


@pytest.fixture(scope="module")
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that starts engines by commands."""
    data = tmp_path_factory.mktemp("second")
    fake_model(data, "deep")
    second = {
        "FREEHOLD_DEFAULT_CHAT": "deep",
        "FREEHOLD_DEFAULT_EMBEDDING": "deep",
        "FREEHOLD_PORT": "0",
        "FREEHOLD_STARTER": "false",
    }
    lost = [sys.executable, "-c", "import sys; print('error: no such GPU'); sys.exit(3)", "{port}"]
    models: dict[str, dict[str, Any]] = {
        "tcp": {"command": [*FAKE, "--tcp", "{port}"]},
        "uds": {"command": [*FAKE, "--socket", "{socket}"], "context": 1024, "memory": "64 MiB"},
        "second": {
            "command": [str(FREEHOLD), "up", "--port", "{port}", "--data-dir", str(data)],
            "env": second,
            "upstream": "deep",
        },
        "lost": {"command": lost},
        "absent": {"command": ["no-such-program", "{port}"]},
        "huge": {"command": [*FAKE, "--tcp", "{port}"], "memory": "900000 GiB"},
        "nogpu": {"command": [*FAKE, "--tcp", "{port}"], "memory": "1 GiB", "device": "cuda:7"},
    }
    models = {name: {"engine": "external", **own} for name, own in models.items()}
    with gateway(tmp_path_factory.mktemp("starting"), models, FREEHOLD_TIMEOUTS_LOAD="20") as running:
        yield running


@pytest.mark.parametrize("model", ["tcp", "uds", "second"])
def test_an_engine_is_started_by_its_command(starting: Server, model: str) -> None:
    status, _, answer = starting.chat("one two", model=model)
    assert status == 200, answer
    assert (answer["choices"][0]["message"]["content"], answer["model"]) == ("one two", model)
    worker = starting.worker(model)
    assert (worker["state"], worker["sandbox"]["network"]) == ("ready", "shared")
    assert worker["pid"]
    assert worker["rss_bytes"] > sum(filter(None, map(resident_bytes, [worker["pid"]])))  # its children's, too
    assert worker["plan"]["bytes"] == ({"host": 64 * 2**20} if model == "uds" else {})
    status, _, _ = starting.post("/api/unload", {"model": model})
    assert status == 200
    until(lambda: not alive(worker["pid"]))


@pytest.mark.parametrize(
    ("model", "code", "word"),
    [
        ("lost", "model_failed", "it exited with status 3. error: no such GPU"),
        ("absent", "model_failed", "the program 'no-such-program' cannot be started: No such file or directory"),
        ("huge", "insufficient_memory", "Its setting `memory` is"),
        ("nogpu", "insufficient_memory", "there is no cuda:7"),
    ],
)
def test_one_that_does_not_start_says_why(starting: Server, model: str, code: str, word: str) -> None:
    status, _, answer = starting.chat("hello", model=model)
    assert (status, answer["error"]["code"]) == (503, code)
    assert word in answer["error"]["message"]


def test_one_that_ends_is_started_again(starting: Server) -> None:
    assert starting.chat("hello", model="tcp")[0] == 200
    before = starting.worker("tcp")
    children = [int(pid) for pid in Path(f"/proc/{before['pid']}/task/{before['pid']}/children").read_text().split()]
    os.kill(children[0], signal.SIGKILL)
    until(lambda: starting.worker("tcp")["restarts"] > before["restarts"] and starting.worker("tcp")["state"] == "ready")
    assert starting.chat("hello", model="tcp")[0] == 200
    assert not any(map(alive, [before["pid"], *children]))


def test_one_that_is_still_starting_ends_with_the_server_however_that_ends(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(600)"
    nested = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}]); {sleep}"
    models = {"deaf": {"engine": "external", "command": [sys.executable, "-c", nested, "{port}"], "preload": True}}
    with gateway(tmp_path, models, FREEHOLD_PRELOAD="true") as server:
        group = until(lambda: next((worker["pid"] for worker in server.get("/api/ps")[2]["workers"]), None))
        until(lambda: len(members(group)) == 3)
        server.process.kill()
        until(lambda: not members(group), 5)


def members(group: int) -> list[int]:
    """The processes of a group that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, pgrp = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            found += [int(folder.name)] if int(pgrp) == group and state != "Z" else []
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
