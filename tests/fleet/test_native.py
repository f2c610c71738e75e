"""A worker on a native build: the program takes the worker's place, and keeps what the worker gave up."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import StoreError
from freehold.fleet import builds
from freehold.fleet.builds import Build
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment, launch
from freehold.fleet.process import Process
from freehold.hardware.plan import Knobs, Plan
from tests.builder.parts import compiled
from tests.conftest import until

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    root = tmp_path / "engines"
    builds.commit(root, Build("native", "native", "cpu", "v", builds.pin("native")), compiled(tmp_path / "stage", [1, 2]))
    plan = Plan(context=64, slots=1, knobs=Knobs(build="native"))
    yield Deployment("m", "chat", "llama.cpp", plan, "auto", weights=tmp_path / "m.gguf", builds=root)


def program_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


async def ready(process: Process) -> EngineClient:
    client = EngineClient(process.socket)
    async with asyncio.timeout(20):
        while program_of(process.pid) != "llama-server" or not process.socket.exists():
            assert process.alive, process.last_words()
            await asyncio.sleep(0.02)
    assert (await client.get("/health", within=5)).status == 200
    return client


async def test_the_program_is_confined_as_any_worker(deployment: Deployment, tmp_path: Path) -> None:
    process = await Process.spawn(launch(deployment, tmp_path / "s.sock"), tmp_path / "s.sock")
    try:
        await ready(process)
        proc = Path(f"/proc/{process.pid}")
        if process.confinement["network"] == "none":
            assert (proc / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        limits = next(line for line in (proc / "limits").read_text().splitlines() if line.startswith("Max core file size"))
        assert limits.split()[4:6] == ["0", "0"]
        assert (proc / "oom_score_adj").read_text().strip() == "500"
        assert not [name for name in (proc / "environ").read_bytes().split(b"\0") if name.startswith((b"FREEHOLD", b"LLAMA_"))]
        assert deployment.builds
        with pytest.raises(StoreError, match="runs a model now"):
            builds.remove(deployment.builds, "native")
    finally:
        await process.stop(2)
    builds.remove(deployment.builds, "native")


async def test_it_ends_with_sigterm_and_is_reaped(deployment: Deployment, tmp_path: Path) -> None:
    process = await Process.spawn(launch(deployment, tmp_path / "s.sock"), tmp_path / "s.sock")
    await ready(process)
    await process.stop(10)
    assert await process.exited() == -signal.SIGTERM
    assert not (tmp_path / "s.sock").exists()


def test_it_dies_with_a_parent_that_was_killed(deployment: Deployment, tmp_path: Path) -> None:
    parent = f"""
import asyncio, sys
from pathlib import Path
from freehold.fleet.engines import Deployment, launch
from freehold.fleet.process import Process
from freehold.hardware.plan import Knobs, Plan
async def main():
    plan = Plan(context=64, slots=1, knobs=Knobs(build="native"))
    given = Deployment("m", "chat", "llama.cpp", plan, "auto", weights=Path("m.gguf"), builds=Path({str(deployment.builds)!r}))
    process = await Process.spawn(launch(given, Path("s.sock").absolute()), Path("s.sock").absolute())
    print(process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        worker = int(process.stdout.readline())
        until(lambda: program_of(worker) == "llama-server")
        process.kill()
        process.wait()
        until(lambda: program_of(worker) != "llama-server", 5)


async def test_a_program_that_cannot_run_says_so(deployment: Deployment, tmp_path: Path) -> None:
    program = builds.get(deployment.builds, "native").program
    assert program
    program.chmod(0o644)
    process = await Process.spawn(launch(deployment, tmp_path / "s.sock"), tmp_path / "s.sock")
    assert await process.exited() == 1
    await process.stop(0)
    assert "cannot be started" in process.last_words()
