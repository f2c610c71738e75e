"""More requests than can be served."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import uvloop

from benchmarks.client import Connection
from benchmarks.processes import Gateway, rss_bytes
from benchmarks.report import percentile
from soak.judge import Judged
from soak.servers import chat, closed_loop, fake

_MB = 1e6


def overload(*, quick: bool, data_dir: Path | None) -> Judged:
    """Ten times the requests that can be served, for a minute: the rest is turned away at once, and the work goes on."""
    report = Judged("Ten times overload")
    slots, seconds = 8, 0.1 if quick else 0.4
    with fake(slots, {"FREEHOLD_QUEUE_SIZE": "32"}) as (gateway, _):
        uvloop.run(_overload(report, gateway, slots, seconds, 1.0 if quick else 60.0))
    return report


async def _overload(report: Judged, gateway: Gateway, slots: int, seconds: float, lasting: float) -> None:
    data = chat(faults={"tokens": 1, "first_token_delay_s": seconds})
    await closed_loop(gateway.port, data, slots * 2, min(lasting / 2, 3.0))
    peak = await closed_loop(gateway.port, data, slots * 2, min(lasting, 15.0))
    report.add("peak, twice as many clients as slots", peak, "requests/s")
    flood = _Flood(gateway.port, data)
    await flood.run(10 * slots / seconds, min(lasting / 4, 5.0))  # warm-up: the connections, and the queue full
    flood.forget()
    memory = [rss_bytes(gateway.pid)]
    sampler = asyncio.create_task(_sample(memory, gateway.pid, lasting / 30))
    began = time.perf_counter()
    await flood.run(10 * slots / seconds, lasting)
    lasted = time.perf_counter() - began
    sampler.cancel()
    refused = flood.seconds[429]
    report.add("offered", flood.sent / lasted, "requests/s", note=f"{flood.sent / lasted / (slots / seconds):.1f} × capacity")
    report.exactly("answers that are neither 200 nor 429", flood.sent - sum(len(flood.seconds[s]) for s in (200, 429)), 0, "")
    report.at_least("goodput", len(flood.seconds[200]) / lasted / peak * 100, 90, "% of peak")
    report.at_most(
        "a refusal takes, p95", percentile(refused, 0.95) * 1000, 20, "ms", f"p50 {statistics.median(refused) * 1000:.1f}"
    )
    report.at_most(
        "memory changes by", (max(memory) - min(memory)) / memory[0] * 100, 5, "%", f"{memory[0] / _MB:.1f} MB before"
    )


class _Flood:
    """Requests at a fixed rate, whatever becomes of those before. `seconds` are the answers' times by status."""

    def __init__(self, port: int, data: bytes):
        self._port, self._data = port, data
        self._lines: list[Connection] = []
        self.forget()

    def forget(self) -> None:
        self.sent = 0
        self.seconds: dict[int, list[float]] = {200: [], 429: [], 503: []}

    async def run(self, rate: float, lasting: float) -> None:
        began, tasks = time.perf_counter(), set()
        while (now := time.perf_counter() - began) < lasting:
            for _ in range(int(now * rate) - self.sent):
                self.sent += 1
                tasks.add(asyncio.create_task(self._one()))
            tasks = {task for task in tasks if not task.done()}
            await asyncio.sleep(0.002)
        await asyncio.gather(*tasks)

    async def _one(self) -> None:
        line = self._lines.pop() if self._lines else await Connection.open(self._port)
        answer = await line.ask(self._data)
        self.seconds[answer.status].append(answer.seconds)
        if not line.closing:
            self._lines.append(line)


async def _sample(memory: list[int], pid: int, pause: float) -> None:
    while True:
        await asyncio.sleep(pause)
        memory.append(rss_bytes(pid))
