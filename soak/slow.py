"""Clients that take, or send, too slowly."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import uvloop

from benchmarks.processes import Gateway, rss_bytes
from benchmarks.report import median, percentile
from soak.judge import Judged
from soak.servers import chat, connection, fake, idle, metric, open_files

_MB = 1e6


def slow_readers(*, quick: bool, data_dir: Path | None) -> Judged:
    """Clients that read their stream at a byte a second, beside clients that read as they should."""
    report = Judged("Slow readers")
    slow, good, write = (4, 2, 1.5) if quick else (100, 8, 60.0)
    env = {"FREEHOLD_TIMEOUTS_WRITE": str(write), "FREEHOLD_ENGINE_CONTEXT": "1000000"}
    with fake(slow, env, steady={"slots": good}) as (gateway, _):
        uvloop.run(_slow_readers(report, gateway, slow, good, write))
    return report


async def _slow_readers(report: Judged, gateway: Gateway, slow: int, good: int, write: float) -> None:
    paced = int(min(write, 20.0) * 0.6 / 0.02)
    steady = chat(model="steady", faults={"tokens": paced, "token_delay_s": 0.02}, stream=True, max_tokens=paced + 1)
    await _gaps(gateway.port, steady, good)
    before, memory = await _gaps(gateway.port, steady, good), rss_bytes(gateway.pid)
    loop = asyncio.get_running_loop()
    endless = chat(faults={"tokens": 200_000}, stream=True, max_tokens=300_000)  # more than any socket's buffers hold
    began = time.perf_counter()
    begun = asyncio.Semaphore(0)
    readers = [loop.create_task(_trickle(gateway.port, endless, begun)) for _ in range(slow)]
    for _ in readers:
        await begun.acquire()
    await asyncio.sleep(min(write / 4, 5.0))  # their buffers fill
    beside, after = await _gaps(gateway.port, steady, good), rss_bytes(gateway.pid)
    ends = await asyncio.gather(*readers)
    await idle(gateway.port, "fake")
    report.add("slow readers", slow, "")
    report.at_most("memory for each", (after - memory) / slow / _MB, 1, "MB")
    report.at_most(
        "time between tokens of the others, p95", percentile(beside, 0.95) / percentile(before, 0.95), 1.1, "× before"
    )
    report.samples["gaps_p95_ms"] = [percentile(values, 0.95) * 1000 for values in (before, beside)]
    report.at_most("cut off after, last", max(ends) - began, write * 1.1 + 5, "s", f"first {min(ends) - began:.1f} s")
    report.at_least("cut off after, first", min(ends) - began, write * 0.9, "s", "a byte a second is not enough")


async def _gaps(port: int, data: bytes, streams: int) -> list[float]:
    """The times between the pieces of some streams that run at once."""

    async def one() -> list[float]:
        async with connection(port) as line:
            events = (await line.ask(data)).events
            return [later - sooner for sooner, later in itertools.pairwise(events)]

    return [gap for gaps in await asyncio.gather(*(one() for _ in range(streams))) for gap in gaps]


async def _trickle(port: int, data: bytes, begun: asyncio.Semaphore) -> float:
    """Reads a byte a second until it is cut off; returns when that was."""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await loop.sock_connect(raw, ("127.0.0.1", port))
    await loop.sock_sendall(raw, data)
    poll = socket.socket.getsockopt
    with raw:
        while True:
            try:
                if not await loop.sock_recv(raw, 1):
                    return time.perf_counter()
            except ConnectionError:
                return time.perf_counter()
            begun.release()
            for _ in range(10):
                await asyncio.sleep(0.1)
                if poll(raw, socket.SOL_SOCKET, socket.SO_ERROR):
                    return time.perf_counter()


def connections(*, quick: bool, data_dir: Path | None) -> Judged:
    """10,000 connections that say nothing, or never finish saying it, beside a client that asks as usual."""
    report = Judged("Idle and slow connections")
    count, seconds = (300, 1.5) if quick else (10_000, 40.0)
    env = {"FREEHOLD_HTTP_HEADER_TIMEOUT": "1"} if quick else {}
    with fake(4, env) as (gateway, _):
        uvloop.run(_beside_flood(report, gateway, count, seconds))
    return report


async def _beside_flood(report: Judged, gateway: Gateway, count: int, seconds: float) -> None:
    await _latencies(gateway.port, seconds / 4)
    before = await _latencies(gateway.port, seconds / 2)
    base, files = percentile(before, 0.95), open_files(gateway.pid)
    argv = [sys.executable, "-m", "soak.flood", str(gateway.port), str(count)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flood:  # noqa: ASYNC220
        try:
            await asyncio.to_thread(flood.stdout.readline)  # type: ignore[union-attr]  # all are open
            held = asyncio.create_task(_held(gateway.port, seconds))
            during = await _latencies(gateway.port, seconds)
            opened = await held
            flood.stdin.close()  # type: ignore[union-attr]
            told = json.loads(await asyncio.to_thread(flood.stdout.read))  # type: ignore[union-attr]
        finally:
            flood.kill()
    for _ in range(200):
        if open_files(gateway.pid) - files <= 2:
            break
        await asyncio.sleep(0.1)
    report.at_least("connections held open", opened, count * 0.9, "", f"{told['opened']:,} opened in all")
    report.at_most("latency of a request, p95", percentile(during, 0.95) / base, 2, "× before", f"before {base * 1000:.2f} ms")
    report.at_most("longest life of a head that does not come", told["longest"], 1.5 if count < 1000 else 11, "s")
    report.at_most("files left open afterwards", open_files(gateway.pid) - files, 2, "")
    report.samples["flood"] = told


async def _held(port: int, seconds: float) -> float:
    """The usual number of open connections."""
    counts, deadline = [], time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        counts.append(await metric(port, "freehold_connections"))
        await asyncio.sleep(seconds / 20)
    return median(counts)


async def _latencies(port: int, seconds: float) -> list[float]:
    """Times of whole, small answers, a hundred a second."""
    found, deadline = [], time.perf_counter() + seconds
    async with connection(port) as line:
        while time.perf_counter() < deadline:
            found.append((await line.ask(chat())).seconds)
            await asyncio.sleep(0.01)
    return found
