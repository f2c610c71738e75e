"""Workers are real processes: they are started once, watched, replaced and reaped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import EngineTimeout, ModelFailed
from freehold.fleet.engines import Deployment
from freehold.fleet.process import Process
from freehold.fleet.supervisor import Supervisor, WorkerStatus
from freehold.hardware.plan import Plan
from freehold.settings import TimeoutSettings

QUICK = TimeoutSettings(heartbeat=0.2, hang=1.0, load=10)


def fake(name: str = "m", **options: Any) -> Deployment:
    return Deployment(name, "chat", "fake", Plan(context=4096, slots=4), sandbox="auto", options=options)


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    fleet = Supervisor(tmp_path, QUICK)
    yield fleet
    await fleet.close()


def status(fleet: Supervisor, model: str = "m") -> WorkerStatus:
    return next(worker for worker in fleet.status() if worker.model == model)


async def eventually(condition: Callable[[], Any], within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_many_callers_share_one_load(supervisor: Supervisor) -> None:
    clients = await asyncio.gather(*(supervisor.ensure_ready(fake(load_delay_s=0.2)) for _ in range(20)))
    assert len(set(clients)) == 1
    assert status(supervisor).restarts == 0


async def test_a_caller_that_leaves_does_not_end_the_load(supervisor: Supervisor) -> None:
    impatient = asyncio.create_task(supervisor.ensure_ready(fake(load_delay_s=0.3)))
    patient = asyncio.create_task(supervisor.ensure_ready(fake(load_delay_s=0.3)))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert status(supervisor).state == "ready"


async def test_a_killed_worker_is_replaced_at_once_and_leaves_no_zombie(supervisor: Supervisor) -> None:
    await supervisor.ensure_ready(fake())
    old = status(supervisor).pid
    assert old
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: status(supervisor).pid != old)
    await supervisor.ensure_ready(fake())
    assert gone(old)
    assert status(supervisor).restarts == 1


async def test_a_hung_worker_is_found_by_its_heartbeat(supervisor: Supervisor) -> None:
    await supervisor.ensure_ready(fake())
    old = status(supervisor).pid
    assert old
    os.kill(old, signal.SIGSTOP)
    await eventually(lambda: status(supervisor).pid not in {old})
    await supervisor.ensure_ready(fake())
    assert gone(old)


async def test_a_worker_that_dies_at_load_tells_its_last_words_and_when_to_try_again(supervisor: Supervisor) -> None:
    with pytest.raises(ModelFailed, match=r"status 3.*weights are corrupt") as caught:
        await supervisor.ensure_ready(fake(die_at_load=True))
    assert caught.value.retry_after and caught.value.retry_after > 0
    assert status(supervisor).state == "failed"


async def test_a_crash_loop_backs_off_and_ends_when_the_worker_loads(supervisor: Supervisor, tmp_path: Path) -> None:
    deployment = fake(die_at_load_times=2, counter_file=str(tmp_path / "starts"))
    for _ in range(2):
        with pytest.raises(ModelFailed):
            await supervisor.ensure_ready(deployment)
        await eventually(lambda: supervisor.state("m") != "failed")
    await supervisor.ensure_ready(deployment)


async def test_a_worker_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    fleet = Supervisor(tmp_path, TimeoutSettings(load=0.5))
    try:
        with pytest.raises(ModelFailed, match="not ready after"):
            await fleet.ensure_ready(fake(never_ready=True))
    finally:
        await fleet.close()


async def test_a_worker_that_ignores_sigterm_is_killed(supervisor: Supervisor) -> None:
    await supervisor.ensure_ready(fake(ignore_sigterm=True))
    pid = status(supervisor).pid
    assert pid
    await supervisor.stop("m")
    assert gone(pid)


async def test_closing_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    fleet = Supervisor(tmp_path, QUICK)
    await asyncio.gather(*(fleet.ensure_ready(fake(name)) for name in ("a", "b", "c")))
    pids = [worker.pid for worker in fleet.status()]
    await fleet.close()
    assert all(pid and gone(pid) for pid in pids)
    assert list(tmp_path.iterdir()) == []


async def test_a_stopped_worker_does_not_come_back_though_a_cancellation_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may be when the stop comes in the very moment in which a hung worker is being killed."""
    killing = asyncio.Event()
    stop = Process.stop

    async def losing(process: Process, grace: float) -> None:
        killing.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        await stop(process, grace)

    fleet = Supervisor(tmp_path, QUICK)
    await fleet.ensure_ready(fake())
    pid = status(fleet).pid
    assert pid
    monkeypatch.setattr(Process, "stop", losing)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.wait_for(killing.wait(), 10)
    monkeypatch.setattr(Process, "stop", stop)
    async with asyncio.timeout(10):
        await fleet.close()
    assert gone(pid)
    assert list(tmp_path.iterdir()) == []


async def test_a_broken_worker_disturbs_no_other(supervisor: Supervisor) -> None:
    good = await supervisor.ensure_ready(fake("good"))
    with pytest.raises(ModelFailed):
        await supervisor.ensure_ready(fake("bad", die_at_load=True))
    answer = await good.post("/v1/completions", b'{"prompt":"hello","max_tokens":1}', within=5)
    assert answer.status == 200


async def test_a_silent_worker_is_a_timeout_not_a_wait_for_ever(supervisor: Supervisor) -> None:
    client = await supervisor.ensure_ready(fake())
    with pytest.raises(EngineTimeout):
        await client.post("/v1/completions", b'{"prompt":"[[fake:{\\"hang\\":true}]]","max_tokens":1}', within=0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from freehold.fleet.engines import Deployment
from freehold.fleet.supervisor import Supervisor
from freehold.hardware.plan import Plan
from freehold.settings import TimeoutSettings
async def main():
    fleet = Supervisor(Path({str(tmp_path)!r}), TimeoutSettings())
    await fleet.ensure_ready(Deployment("m", "chat", "fake", Plan(context=4096, slots=4), "auto"))
    print(fleet.status()[0].pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 2
    while not gone(worker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(worker)
