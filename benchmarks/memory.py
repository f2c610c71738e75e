"""What a worker really takes: a real one is started on a plan, every slot is asked, and the kernel is asked."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, Literal

from freehold.fleet.engines import Deployment, launch
from freehold.hardware.plan import Plan
from freehold.hardware.shape import Shape

_LOADED_WITHIN = 120.0  # seconds
_ANSWERED_WITHIN = 120.0
_TURNS = 3  # each leaves two checkpoints
_PAGE = 4096


@dataclass(frozen=True)
class Measured:
    """Bytes of a worker. `own` is memory of its own; `programs` pages of its programs and libraries; `mapped` pages of the
    model's file that a request touched; `resident` the system's RSS, which also counts those that nothing reads any more.
    """

    own: int
    programs: int
    mapped: int
    resident: int

    @property
    def used(self) -> int:
        """What others lose."""
        return self.own + self.programs + self.mapped


def measure(weights: Path, plan: Plan, shape: Shape, task: Literal["chat", "embedding"]) -> Measured:
    """Starts a worker, asks all its slots twice, and counts what the second time touched.

    A token table that is no output, too, is read row by row: as much of it as long use reads is counted, all.
    """
    with tempfile.TemporaryDirectory(prefix="fh-fit-") as folder:
        deployment = Deployment("measured", task, "llama.cpp", plan, "auto", weights)
        with worker(deployment, Path(folder) / "w.sock") as (pid, address):
            asked = _ask_all(address, deployment, shape.vocab)
            Path(f"/proc/{pid}/clear_refs").write_text("1", encoding="ascii")
            _ask_all(address, deployment, shape.vocab)
            found = _counted(Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8"), weights)
    unread = 0 if shape.tied else max(0, shape.input_bytes - asked * _PAGE)
    return replace(found, mapped=min(found.mapped + unread, found.resident - found.own - found.programs))


@contextlib.contextmanager
def worker(deployment: Deployment, address: Path) -> Iterator[tuple[int, Path]]:
    """A worker that is ready: its process id, and its socket."""
    start = launch(deployment, address)
    with (address.parent / "log").open("wb") as log:
        child = subprocess.Popen(start.argv, env=dict(start.env), stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _LOADED_WITHIN
        while not _healthy(address):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((address.parent / "log").read_text(encoding="utf-8", errors="replace")[-2000:])
            time.sleep(0.05)
        yield child.pid, address
    finally:
        child.kill()
        child.wait()
        if child.stdin:
            child.stdin.close()


def _healthy(address: Path) -> bool:
    with contextlib.suppress(OSError, HTTPException):
        return call(address, "GET", "/health", None, 5.0)[0] == 200
    return False


def _ask_all(address: Path, deployment: Deployment, vocab: int) -> int:
    """A request for each slot, all at a time: the first is longer than a physical batch, so that every buffer is used.

    The KV cache need not be filled: the engine writes all of it when it starts. Where slots keep checkpoints, each has a talk
    of several turns. Returns the tokens of the longest request.
    """
    whole = deployment.task == "embedding" and not deployment.plan.splits
    batch = max(512, deployment.context) if whole else deployment.plan.knobs.ubatch
    longest = min(deployment.context - 16, batch + 32)
    tokens = [(number * 7919) % (vocab - 2) + 1 for number in range(deployment.context)]

    def ask(slot: int) -> None:
        for turn in range(_TURNS if deployment.plan.checkpoints else 1):
            given = tokens[: (turn + 1) * (longest if slot == 0 or deployment.plan.checkpoints else 32)]
            if deployment.task == "embedding":
                path, body = "/embedding", {"content": given}
            else:
                limits = {"n_predict": 4, "ignore_eos": True, "cache_prompt": turn > 0, "id_slot": slot}
                path, body = "/completion", {"prompt": given, **limits}
            status, answer = call(address, "POST", path, body, _ANSWERED_WITHIN)
            if status != 200:
                raise RuntimeError(f"{path} is answered {status}: {answer[:500]!r}")

    with ThreadPoolExecutor(deployment.slots) as pool:
        list(pool.map(ask, range(deployment.slots)))
    return longest


def call(address: Path, method: str, path: str, body: Any, seconds: float) -> tuple[int, bytes]:
    """Status and body of a worker's answer."""
    connection = HTTPConnection("localhost", timeout=seconds)
    connection.sock = socket(AF_UNIX, SOCK_STREAM)
    with contextlib.closing(connection):
        connection.sock.settimeout(seconds)
        connection.sock.connect(str(address))
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def _counted(listing: str, weights: Path) -> Measured:
    """The mappings of /proc/PID/smaps (kernel documentation, filesystems/proc.rst), summed.

    Which pages of a library the kernel has seen in use since it was told to forget depends on the machine's mood; they are few
    and shared, so all that are resident count.
    """
    own = programs = mapped = resident = 0
    for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", listing, flags=re.MULTILINE)[1:]:
        sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB$", mapping, re.MULTILINE)}
        own += sizes["Anonymous"]
        pages = sizes["Rss"] - sizes["Anonymous"]
        if str(weights.resolve()) in mapping.partition("\n")[0]:
            mapped += min(sizes["Referenced"], pages)
        else:
            programs += pages
        resident += sizes["Rss"]
    return Measured(own, programs, mapped, resident)
