"""Workers are real processes: they are started once, watched, replaced and reaped."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import EngineTimeout, ModelFailed
from freehold.fleet.engines import Deployment
from freehold.fleet.process import Process
from freehold.fleet.supervisor import Supervisor, WorkerStatus
from freehold.hardware.plan import HOST, Plan, Share
from freehold.settings import TimeoutSettings, WorkerSettings
from freehold.store.integrity import Pin

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


@pytest.mark.parametrize("fault", ["spin", "deadlock"])
async def test_a_stuck_main_loop_is_found_though_health_is_answered(supervisor: Supervisor, fault: str) -> None:
    client = await supervisor.ensure_ready(fake())
    old = status(supervisor).pid
    body = b'{"prompt":"[[fake:{\\"' + fault.encode() + b'\\":true}]]","max_tokens":1}'
    with pytest.raises(ModelFailed):
        await client.post("/v1/completions", body, within=10)
    await eventually(lambda: status(supervisor).pid not in {old, None})
    await supervisor.ensure_ready(fake())
    assert status(supervisor).restarts == 1


async def test_a_worker_that_computes_a_long_batch_is_left_alone(supervisor: Supervisor) -> None:
    """The main loop is silent for longer than a hang may last, but a slow engine is reading a long prompt."""
    client = await supervisor.ensure_ready(fake(first_token_delay_s=0.1))
    pid = status(supervisor).pid
    text = '[[fake:{"busy_s": 1.5}]]' + "word " * 20_000
    answer = await client.post("/v1/completions", json.dumps({"prompt": text, "max_tokens": 1}).encode(), within=30)
    assert answer.status == 200
    assert status(supervisor).pid == pid


async def test_a_worker_that_takes_more_memory_than_planned_is_ended_and_says_so(tmp_path: Path) -> None:
    fleet = Supervisor(tmp_path, QUICK, WorkerSettings(memory_factor=1.0, memory_slack_mib=64))
    planned = Plan(context=4096, slots=4, memory=(Share(HOST, weights=64 * 2**20, kv=0, buffers=0),))
    try:
        other = await fleet.ensure_ready(fake("other"))
        client = await fleet.ensure_ready(replace(fake(), plan=planned))
        with pytest.raises(ModelFailed):
            await client.post("/v1/completions", b'{"prompt":"[[fake:{\\"grow_mib\\":256,\\"hang\\":true}]]"}', within=10)
        await eventually(lambda: status(fleet).failure == "memory_limit" or status(fleet).restarts == 1)
        await fleet.ensure_ready(replace(fake(), plan=planned))
        assert (await other.get("/health", within=5)).status == 200
    finally:
        await fleet.close()


async def test_a_model_beyond_its_crash_budget_has_failed_until_somebody_asks(tmp_path: Path) -> None:
    fleet = Supervisor(tmp_path, QUICK, WorkerSettings(crash_budget=2, cool_down=600))
    counter = tmp_path / "starts"
    deployment = fake(die_at_load_times=2, counter_file=str(counter))
    try:
        with pytest.raises(ModelFailed, match="does not start"):
            await fleet.ensure_ready(deployment)
        await eventually(lambda: status(fleet).given_up)
        with pytest.raises(ModelFailed, match=r"freehold load m.*status 3.*corrupt") as caught:
            await fleet.ensure_ready(deployment)
        assert caught.value.retry_after == pytest.approx(600, abs=30)
        assert len(counter.read_text().splitlines()) == 2
        assert status(fleet).failure == "exited"
        fleet.forgive("m")
        await fleet.ensure_ready(deployment)
        assert status(fleet).failure is None
    finally:
        await fleet.close()


async def test_a_failed_model_is_tried_once_by_a_request_after_its_cool_down(tmp_path: Path) -> None:
    fleet = Supervisor(tmp_path, QUICK, WorkerSettings(crash_budget=1, cool_down=0.2))
    counter = tmp_path / "starts"
    deployment = fake(die_at_load_times=2, counter_file=str(counter))
    try:
        for _ in range(2):
            with pytest.raises(ModelFailed):
                await fleet.ensure_ready(deployment)
            await eventually(lambda: (status(fleet).retry_in_s or 0) == 0)
        assert len(counter.read_text().splitlines()) == 2
        await fleet.ensure_ready(deployment)
    finally:
        await fleet.close()


async def test_a_model_that_gets_too_little_memory_is_loaded_smaller_once(supervisor: Supervisor, tmp_path: Path) -> None:
    deployment = fake(die_at_load_times=1, counter_file=str(tmp_path / "starts"), last_words="std::bad_alloc")
    await supervisor.ensure_ready(deployment)
    assert status(supervisor).reduced == "2 instead of 4 requests at a time"
    assert status(supervisor).slots == 2
    effective = supervisor.effective("m")
    assert effective is not None and effective.slots == 2


async def test_a_model_that_gets_too_little_memory_twice_has_failed_for_that(supervisor: Supervisor, tmp_path: Path) -> None:
    deployment = fake(die_at_load_times=9, counter_file=str(tmp_path / "starts"), last_words="cudaMalloc failed: out of memory")
    with pytest.raises(ModelFailed, match="memory ran out"):
        await supervisor.ensure_ready(deployment)
    assert status(supervisor).failure == "out_of_memory"
    assert len((tmp_path / "starts").read_text().splitlines()) == 2


async def test_damaged_weights_are_found_before_an_engine_starts_and_after_a_new_pull_all_is_well(tmp_path: Path) -> None:
    weights, counter = tmp_path / "weights", tmp_path / "starts"
    weights.write_bytes(b"sound")
    digest = f"sha256:{hashlib.sha256(b'sound').hexdigest()}"
    pin = Pin("m", "m.gguf", weights, 5, digest, None, tmp_path / "seal")
    deployment = replace(fake(counter_file=str(counter)), pins=(pin,))
    (tmp_path / "run").mkdir()
    fleet = Supervisor(tmp_path / "run", QUICK)
    try:
        await fleet.ensure_ready(deployment)
        await fleet.stop("m")
        weights.write_bytes(b"s0und")
        with pytest.raises(ModelFailed, match=r"m.gguf of the model m is damaged.*freehold rm m"):
            await fleet.ensure_ready(deployment)
        assert (status(fleet).failure, status(fleet).given_up, status(fleet).restarts) == ("damaged", True, 0)
        assert len(counter.read_text().splitlines()) == 1
        weights.write_bytes(b"sound")
        fleet.forgive("m")
        await fleet.ensure_ready(deployment)
    finally:
        await fleet.close()


async def test_a_caller_that_saw_a_worker_die_is_given_the_next_one(supervisor: Supervisor) -> None:
    client = await supervisor.ensure_ready(fake())
    pid = status(supervisor).pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert await supervisor.ensure_ready(fake(), instead_of=client) is not client


async def test_who_waits_for_a_worker_that_is_stopped_is_told(supervisor: Supervisor) -> None:
    waiting = asyncio.create_task(supervisor.ensure_ready(fake(load_delay_s=30)))
    await eventually(lambda: supervisor.state("m") == "loading")
    await supervisor.stop("m")
    with pytest.raises(ModelFailed, match="unloaded"):
        await waiting


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
from freehold.store.integrity import Pin
from freehold.settings import TimeoutSettings, WorkerSettings
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


async def test_a_bug_in_a_workers_start_is_told_to_who_waits(supervisor: Supervisor) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(ModelFailed, match="met an error of its own"):
            await supervisor.ensure_ready(fake(no_json_has_this=object()))
    assert status(supervisor).state == "failed"
