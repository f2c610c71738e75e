"""Clients that leave before their answer is complete."""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from benchmarks.client import Connection
from benchmarks.processes import worker_socket
from benchmarks.report import percentile
from soak.judge import Judged
from soak.servers import chat, connection, fake, get, idle, real


def disconnects(*, quick: bool, data_dir: Path | None) -> Judged:
    """Clients that leave, streamed and not, on the fake and the real engine."""
    report = Judged("Clients that leave")
    count = 5 if quick else 100
    with fake(4) as (gateway, _):
        path = worker_socket(gateway.worker("fake"))
        for streamed in (True, False):
            data = chat(faults={"tokens": 100_000, "token_delay_s": 0.005}, stream=streamed)
            uvloop.run(_leave(report, "fake", streamed, gateway.port, data, path, count))
    if not quick:
        with real(data_dir) as gateway:
            path = worker_socket(gateway.worker("smollm2:135m"))
            for others in (0, 2):
                for streamed in (True, False):
                    data = chat("Count to a thousand.", "gpt-4o", stream=streamed, max_tokens=1500, temperature=0)
                    uvloop.run(_leave(report, "smollm2:135m", streamed, gateway.port, data, path, count, others))
    return report


async def _leave(
    report: Judged, model: str, streamed: bool, port: int, data: bytes, path: Path, count: int, others: int = 0
) -> None:
    """Asks `count` times and leaves while the engine generates, beside `others` streams that go on; measures until the slot and
    the engine are free."""
    what = f"{'streams' if streamed else 'whole answers'} of {model}{' beside others' if others else ''}"
    slot, engine, tokens = [], [], []
    async with _beside(port, path, model, others):
        for _ in range(count):
            before, _ = await _engine(path, model)
            line = await Connection.open(port)
            line.send(data)
            while (now := await _engine(path, model))[0] < before + 3 or now[1] <= others:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            line.close()
            left, (made, _) = time.perf_counter(), await _engine(path, model)
            freed = asyncio.create_task(idle(port, model, pause=0.002, others=others))
            while (now := await _engine(path, model))[1] > others:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            engine.append(time.perf_counter() - left)
            slot.append(await freed)
            tokens.append(now[0] - made)
    report.at_most(f"{what}: slot free, p95", percentile(slot, 0.95), 0.5, "s", f"p50 {statistics.median(slot):.3f}")
    report.at_most(f"{what}: engine free, p95", percentile(engine, 0.95), 0.5, "s", f"p50 {statistics.median(engine):.3f}")
    if not others:  # the engine does not say whose tokens it makes
        report.at_most(f"{what}: tokens made after, most", max(tokens), 8, "", f"p95 {percentile(tokens, 0.95):.0f}")


@contextlib.asynccontextmanager
async def _beside(port: int, path: Path, model: str, count: int) -> AsyncIterator[None]:
    """So many streams that go on all the while."""
    data = chat("Say letters.", "gpt-4o", stream=True, max_tokens=3500, grammar='root ::= [a-z ]+ "~~~"')

    async def one() -> None:
        while True:
            async with connection(port) as line:
                await line.ask(data)

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    try:
        while (await _engine(path, model))[1] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _engine(path: Path, model: str) -> tuple[int, int]:
    """What the engine itself counts: tokens made since its start, or steps of it, and requests that it is at work on."""
    if model == "fake":
        stats = await get(path, "/fake/stats")
        return stats["tokens"], stats["active"]
    found = dict(re.findall(r"^llamacpp:(\w+) (\S+)$", await get(path, "/metrics"), re.MULTILINE))
    return int(float(found["n_decode_total"])), int(float(found["requests_processing"]))
