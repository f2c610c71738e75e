"""Programs under measurement: the real `freehold up`, the fake engine alone, and what /proc tells about them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.store.manifest import Manifest
from freehold.store.store import Store

FREEHOLD = Path(sys.executable).parent / "freehold"
_READY = re.compile(r"Freehold is ready at (http://\S+)/v1")


@dataclass(frozen=True)
class Gateway:
    """A running `freehold up`. Times are seconds after its start."""

    process: subprocess.Popen[bytes]
    port: int
    bound_after: float
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def worker(self, model: str) -> int:
        """The process of a model's worker."""
        return next(worker["pid"] for worker in self.get("/api/ps")["workers"] if worker["model"] == model)

    def ready(self, within: float = 900.0) -> None:
        """Waits until the program says so: models pulled and loaded."""
        wait(lambda: _READY.search(self.log.read_text(encoding="utf-8")), within, self.process, self.log)


@contextlib.contextmanager
def gateway(data_dir: Path | None, env: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """`freehold up` on a free port, until the block ends. The port is bound when this returns; see `Gateway.ready`."""
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as folder:
        log, port = Path(folder) / "log", free_port()
        argv = [str(FREEHOLD), "up", "--port", str(port), *(["--data-dir", str(data_dir)] if data_dir else [])]
        environment = {**os.environ, "TMPDIR": folder, **(env or {})}
        with log.open("wb") as sink:
            began = time.perf_counter()
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment)
        with _ending(process):
            wait(lambda: accepts(port), 60.0, process, log, pause=0.001)
            yield Gateway(process, port, time.perf_counter() - began, log)


def fake_model(data_dir: Path, name: str = "fake", task: str = "chat", **options: Any) -> None:
    """Installs a model that the fake engine plays."""
    Store(data_dir).save(
        Manifest(
            name=name,
            task=task,  # type: ignore[arg-type]
            engine="fake",
            files=(),
            source="fake",
            license=None,
            created=0,
            facts=None,
            sampling={},
            dimensions=(),
            options=options,
            description="",
        )
    )


@contextlib.contextmanager
def fake_gateway(slots: int) -> Iterator[Gateway]:
    """`freehold up` over the fake engine, ready. It never has to queue a request: there are `slots`."""
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as folder:
        for name, task in (("fake", "chat"), ("fake-embedding", "embedding")):
            fake_model(Path(folder), name, task, slots=slots)
        env = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake-embedding"}
        with gateway(Path(folder), env) as running:
            running.ready(60.0)
            yield running


@contextlib.contextmanager
def fake_engine(slots: int) -> Iterator[tuple[int, int]]:
    """The fake engine on a port of loopback: (pid, port)."""
    port = free_port()
    argv = [sys.executable, "-m", "freehold.workers.fake", "--tcp", str(port), "--options", json.dumps({"slots": slots})]
    process = subprocess.Popen([*argv, "--watch-stdin"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    with _ending(process):
        wait(lambda: accepts(port), 20.0, process, None)
        yield process.pid, port


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait(condition: Any, within: float, process: subprocess.Popen[bytes], log: Path | None, pause: float = 0.01) -> None:
    """Returns when the condition is true; ends the benchmark with the program's own words when it ends or takes too long."""
    deadline = time.perf_counter() + within
    while not condition():
        if process.poll() is not None or time.perf_counter() > deadline:
            words = log.read_text(encoding="utf-8")[-2000:] if log else ""
            sys.exit(f"the program under test {'ended' if process.poll() is not None else 'is not ready'}: {words}")
        time.sleep(pause)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def worker_socket(pid: int) -> Path:
    """The unix socket a worker was told to listen on, read from its own command line."""
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if "--config" in argv:
        return Path(json.loads(argv[argv.index("--config") + 1])["socket"])
    if "--host" in argv:  # a native build, which has taken the worker's place and stands in the socket's folder
        return Path(f"/proc/{pid}/cwd").readlink() / argv[argv.index("--host") + 1]
    return Path(argv[argv.index("--socket") + 1])


def pin(pid: int, cpus: set[int]) -> bool:
    """Keeps every thread of a process on these CPUs; False where the system has no such thing."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cpus)
    return True


def two_sides() -> tuple[set[int], set[int]] | None:
    """One CPU for what is measured and another for everything else, where there are two to use."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ({usable[0]}, {usable[1]}) if len(usable) > 1 else None


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used, all threads: nanosecond accounting where the kernel keeps it, else clock ticks."""
    try:
        spent = 0
        for thread in Path(f"/proc/{pid}/task").iterdir():
            spent += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
        return spent / 1e9
    except (OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
