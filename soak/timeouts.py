"""When timeouts fire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks.client import Connection
from benchmarks.report import median
from soak.judge import Judged
from soak.servers import chat, connection, fake, idle


def timeouts(*, quick: bool, data_dir: Path | None) -> Judged:
    """Each timeout against its setting, and whether the slot is free afterwards."""
    report = Judged("Timeouts")
    limit, rounds = (0.5, 1) if quick else (3.0, 5)
    names = ("TIMEOUTS_FIRST_TOKEN", "TIMEOUTS_IDLE", "QUEUE_TIMEOUT", "HTTP_HEADER_TIMEOUT", "HTTP_BODY_TIMEOUT")
    with fake(1, {f"FREEHOLD_{name}": str(limit) for name in names}) as (gateway, _):
        uvloop.run(_fire(report, gateway.port, limit, rounds))
    return report


async def _fire(report: Judged, port: int, limit: float, rounds: int) -> None:
    whole = chat()
    cases: dict[str, Callable[[], Awaitable[float]]] = {
        "first token": lambda: _asked(port, chat(faults={"hang": True}, stream=True)),
        "whole answer": lambda: _asked(port, chat(faults={"hang": True})),
        "between two tokens": lambda: _asked(port, chat(faults={"tokens": 9, "token_delay_s": 30.0}, stream=True)),
        "between two tokens, whole answer": lambda: _asked(port, chat(faults={"tokens": 9, "token_delay_s": 30.0})),
        "waiting for a turn": lambda: _queued(port, limit),
        "a request's head": lambda: _asked(port, whole[:40]),
        "a request's body": lambda: _asked(port, whole[:-5]),
    }
    for what, fire in cases.items():
        ratios = []
        for _ in range(rounds):
            ratios.append(await fire() / limit)
            await idle(port, "fake", within=2.0)
        report.at_least(f"{what}: earliest", min(ratios), 0.9, "× setting")
        report.at_most(f"{what}: latest", max(ratios), 1.1, "× setting", f"median {median(ratios):.3f}")


async def _asked(port: int, data: bytes) -> float:
    """Seconds from a request, or a part of one, to the end of its answer."""
    async with connection(port) as line:
        return (await line.ask(data)).seconds


async def _queued(port: int, limit: float) -> float:
    """The only slot is taken by a stream that goes on."""
    holder = await Connection.open(port)
    await holder.begin(chat(faults={"tokens": int(limit * 50), "token_delay_s": 0.05}, stream=True))
    began = time.perf_counter()
    await _asked(port, chat())
    took = time.perf_counter() - began
    holder.close()
    await asyncio.sleep(0)
    return took
