"""Models that crash beside one that serves."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import uvloop

from benchmarks.client import Connection
from benchmarks.processes import Gateway
from benchmarks.report import median
from soak.judge import Judged
from soak.servers import chat, closed_loop, fake, open_files, worker

_CLIENTS = 4
_PATIENCE = 2.0  # seconds a client waits for a model that crashes


def crash_loop(*, quick: bool, data_dir: Path | None) -> Judged:
    """Two models that crash, one whenever it is loaded, one in the middle of its answers, asked for all the time beside one
    that serves."""
    report = Judged("Crash loops beside a serving model")
    rounds, seconds = (1, 1.0) if quick else (10, 6.0)
    with fake(_CLIENTS, broken={"die_at_load": True}, dying={}) as (gateway, _):
        uvloop.run(_beside(report, gateway, rounds, seconds))
    return report


async def _beside(report: Judged, gateway: Gateway, rounds: int, seconds: float) -> None:
    port = gateway.port
    await _with_crashes(port, seconds)
    await asyncio.sleep(_PATIENCE)
    files = open_files(gateway.pid)
    ratios, crashes = [], 0
    for _ in range(rounds):
        before = await _throughput(port, seconds)
        ratios.append(await _with_crashes(port, seconds) / before)
    await asyncio.sleep(_PATIENCE)
    for model in ("broken", "dying"):
        with contextlib.suppress(StopIteration):
            row = await worker(port, model)
            crashes += row["restarts"]
            report.samples[model] = {"state": row["state"], "restarts": row["restarts"]}
    report.at_least("requests of the serving model", median(ratios) * 100, 95, "% of alone", f"worst round {min(ratios):.0%}")
    report.at_least("crashes meanwhile", crashes, 1, "")
    report.at_most("files more than before", open_files(gateway.pid) - files, 4, "")
    report.samples["ratios"] = ratios


async def _with_crashes(port: int, seconds: float) -> float:
    crasher = asyncio.create_task(_crash(port))
    try:
        return await _throughput(port, seconds)
    finally:
        crasher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await crasher


async def _throughput(port: int, seconds: float) -> float:
    """Answers a second of the serving model, each of which takes it 20 ms."""
    return await closed_loop(port, chat(faults={"tokens": 1, "first_token_delay_s": 0.02}), _CLIENTS, seconds)


async def _crash(port: int) -> None:
    """Asks for both crashing models, five times a second each, whatever they answer."""
    while True:
        for data in (chat(model="broken"), chat(model="dying", faults={"tokens": 9, "die_at_token": 3}, stream=True)):
            line = await Connection.open(port)
            asyncio.get_running_loop().call_later(_PATIENCE, line.close)
            line.send(data)
        await asyncio.sleep(0.2)
