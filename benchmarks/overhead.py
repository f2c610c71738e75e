"""What the gateway adds: the same null engine called directly and through `freehold up`."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.client import Address, Client, request
from benchmarks.processes import cpu_seconds, fake_engine, fake_gateway, pin, rss_bytes, two_sides
from benchmarks.report import Report, percentile

CONCURRENT = 32
STREAMS = 16
_CHAT = "/v1/chat/completions"


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """Measures against the fake engine; needs no model, so `data_dir` is not used."""
    report = Report("Gateway overhead (null engine)")
    scale = 0.1 if quick else 1.0
    with fake_engine(CONCURRENT) as (engine, direct), fake_gateway(CONCURRENT) as gateway:
        sides = two_sides()
        if sides is not None:
            measured, rest = sides
            pin(gateway.pid, measured)
            for other in (engine, gateway.worker("fake"), os.getpid()):
                pin(other, rest)
        uvloop.run(_measure(report, scale, direct, gateway.port, gateway.pid))
        report.add("gateway memory after the runs", rss_bytes(gateway.pid) / 2**20, "MiB")
    report.samples["pinned"] = sides is not None
    return report


async def _measure(report: Report, scale: float, direct: int, port: int, pid: int) -> None:
    await _sequential(report, int(2000 * scale), direct, port)
    await _concurrent(report, 6.0 * scale, direct, port, pid)
    await _streamed(report, int(1000 * scale), port, pid)


async def _sequential(report: Report, count: int, direct: int, port: int) -> None:
    """One request after the other, whole answers, in alternating blocks, so that a disturbance meets both."""
    data = request(_CHAT, _body(16))
    seconds: dict[str, list[float]] = {"direct": [], "gateway": []}
    clients = {"direct": Client(direct), "gateway": Client(port)}
    block = max(10, count // 20)
    for turn in range(1 + count // block):
        for name in ("direct", "gateway") if turn % 2 else ("gateway", "direct"):
            for _ in range(block):
                answer = await clients[name].ask(data)
                if turn:  # the first block warms up
                    seconds[name].append(answer.seconds)
    for client in clients.values():
        client.close()
    figures = {name: {p: percentile(values, p) * 1000 for p in (0.5, 0.95, 0.99)} for name, values in seconds.items()}
    report.samples["sequential_ms"] = figures
    report.add("latency, direct, p50", figures["direct"][0.5], "ms")
    report.add("latency, gateway, p50", figures["gateway"][0.5], "ms", note=f"p99 {figures['gateway'][0.99]:.2f} ms")
    report.add("added by the gateway, p50", figures["gateway"][0.5] - figures["direct"][0.5], "ms", goal="≤ 1")


async def _concurrent(report: Report, seconds: float, direct: int, port: int, pid: int) -> None:
    """Requests a second with 32 clients that each wait for their answer before they ask again."""
    data = request(_CHAT, _body(16))
    await _ask_for(seconds / 6, port, data)
    alone = await _ask_for(seconds, direct, data)
    spent = cpu_seconds(pid)
    through = await _ask_for(seconds, port, data)
    spent = cpu_seconds(pid) - spent
    report.add(f"{CONCURRENT} concurrent, direct", alone / seconds, "requests/s")
    report.add(f"{CONCURRENT} concurrent, gateway on one core", through / seconds, "requests/s")
    report.add("gateway CPU per request", spent / through * 1e6, "µs", note=f"{spent / seconds:.0%} of a core")


async def _ask_for(seconds: float, address: Address, data: bytes) -> int:
    """How many requests were answered in about `seconds`."""
    deadline = time.perf_counter() + seconds

    async def one() -> int:
        client, answered = Client(address), 0
        while time.perf_counter() < deadline:
            await client.ask(data)
            answered += 1
        client.close()
        return answered

    return sum(await asyncio.gather(*(one() for _ in range(CONCURRENT))))


async def _streamed(report: Report, tokens: int, port: int, pid: int) -> None:
    """CPU time for a relayed chunk, when each arrives alone (paced) and when the engine is faster than the gateway."""
    for what, delay in (("paced", 0.004), ("as fast as they come", 0.0)):
        body = _body(tokens, {"token_delay_s": delay}) | {"stream": True, "max_tokens": 2 * tokens}
        data = request(_CHAT, body)
        clients = [Client(port) for _ in range(STREAMS)]
        spent, began = cpu_seconds(pid), time.perf_counter()
        answers = await asyncio.gather(*(client.ask(data) for client in clients))
        lasted, spent = time.perf_counter() - began, cpu_seconds(pid) - spent
        for client in clients:
            client.close()
        chunks, pieces = sum(answer.count for answer in answers), sum(len(answer.events) for answer in answers)
        report.samples[f"streamed {what}"] = {"chunks": chunks, "pieces": pieces, "seconds": lasted, "cpu_seconds": spent}
        note = f"{chunks:,} chunks in {pieces:,} pieces, {chunks / lasted:,.0f}/s"
        report.add(f"gateway CPU per chunk, {what}", spent / chunks * 1e6, "µs", note=note)


def _body(tokens: int, more: dict[str, Any] | None = None) -> dict[str, Any]:
    directive = "[[fake:" + json.dumps({"tokens": tokens, **(more or {})}) + "]]"
    return {"model": "fake", "messages": [{"role": "user", "content": f"{directive} say something"}]}
