"""How soon a second `freehold up` serves: models are on disk, nothing is in memory."""

from __future__ import annotations

import time
from pathlib import Path

import uvloop

from benchmarks.client import Client, request
from benchmarks.processes import cpu_seconds, gateway, rss_bytes
from benchmarks.report import Report, median

_BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0}


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """The first start, which may have to pull, is not measured."""
    report = Report("Second start")
    with gateway(data_dir) as first:
        first.ready()
    bound, token, ready, memory = [], [], [], []
    for _ in range(2 if quick else 5):
        began = time.perf_counter()
        with gateway(data_dir) as running:
            bound.append(running.bound_after)
            # Asked the moment the port is there: the request waits for the model that loads.
            uvloop.run(_first_token(running.port))
            token.append(time.perf_counter() - began)
            running.ready()
            ready.append(time.perf_counter() - began)
            idle, used = _idle(running.pid)
            memory.append(rss_bytes(running.pid) / 2**20)
            report.samples.setdefault("idle_cpu_share", []).append(used / idle)
    report.samples.update(bound_s=bound, first_token_s=token, ready_s=ready, rss_mib=memory)
    report.add("port bound", median(bound) * 1000, "ms", goal="≤ 1,000")
    report.add("first token", median(token), "s", note="asked as soon as the port was bound")
    report.add("ready", median(ready), "s", note="both starter models loaded")
    report.add("gateway memory, idle", median(memory), "MiB")
    report.add("gateway CPU, idle", median(report.samples["idle_cpu_share"]) * 100, "% of a core")
    return report


async def _first_token(port: int) -> None:
    client = Client(port)
    await client.ask(request("/v1/chat/completions", _BODY))
    client.close()


def _idle(pid: int) -> tuple[float, float]:
    """(seconds, CPU seconds) of a process that has nothing to do."""
    began, spent = time.perf_counter(), cpu_seconds(pid)
    time.sleep(2.0)
    return time.perf_counter() - began, cpu_seconds(pid) - spent
