"""What other APIs cost over OpenAI's chat: the same null engine asked by each, in alternating blocks."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.client import Client, request
from benchmarks.overhead import CONCURRENT, STREAMS
from benchmarks.processes import cpu_seconds, fake_engine, fake_gateway, pin, two_sides
from benchmarks.report import Report, percentile

STORED = "Responses, stored"  # has no goals: its time is the disk's
PATHS = {
    "chat": "/v1/chat/completions",
    "Anthropic": "/v1/messages",
    "Ollama": "/api/chat",
    "Responses": "/v1/responses",
    STORED: "/v1/responses",
}
ROUNDS = 5


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """Measures against the fake engine; needs no model, so `data_dir` is not used."""
    report = Report("Other APIs over chat (null engine)")
    scale = 0.1 if quick else 1.0
    with fake_engine(CONCURRENT) as (engine, _), fake_gateway(CONCURRENT) as gateway:
        sides = two_sides()
        if sides is not None:
            measured, rest = sides
            pin(gateway.pid, measured)
            for other in (engine, gateway.worker("fake"), os.getpid()):
                pin(other, rest)
        uvloop.run(_measure(report, scale, gateway.port, gateway.pid))
    report.samples["pinned"] = sides is not None
    return report


async def _measure(report: Report, scale: float, port: int, pid: int) -> None:
    await _whole(report, int(1500 * scale), port)
    for what, delay in (("paced", 0.004), ("as fast as they come", 0.0)):
        await _streamed(report, what, delay, max(50, int(500 * scale)), port, pid)


async def _whole(report: Report, count: int, port: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in PATHS}
    client = Client(port)
    data = {name: request(path, _body(name, 16, {}, stream=False)) for name, path in PATHS.items()}
    block = max(10, count // 20)
    for turn in range(1 + count // block):
        for name in PATHS if turn % 2 else reversed(PATHS):
            for _ in range(block):
                answer = await client.ask(data[name])
                if turn:  # the first block warms up
                    seconds[name].append(answer.seconds)
    client.close()
    figures = {name: {p: percentile(values, p) * 1000 for p in (0.5, 0.95)} for name, values in seconds.items()}
    report.samples["whole_ms"] = figures
    for name in PATHS:
        if name != "chat":
            report.add(
                f"{name}, whole, p50 over chat", figures[name][0.5] - figures["chat"][0.5], "ms", goal=_goal(name, "≤ 1.5")
            )


async def _streamed(report: Report, what: str, delay: float, tokens: int, port: int, pid: int) -> None:
    """CPU time of the gateway for a token, median of rounds in which each API has its turn."""
    spent: dict[str, list[float]] = {name: [] for name in PATHS}
    for turn in range(ROUNDS):
        for name in PATHS if turn % 2 else reversed(PATHS):
            data = request(PATHS[name], _body(name, tokens, {"token_delay_s": delay}, stream=True))
            clients = [Client(port) for _ in range(STREAMS)]
            before = cpu_seconds(pid)
            await asyncio.gather(*(client.ask(data) for client in clients))
            spent[name].append((cpu_seconds(pid) - before) / (tokens * STREAMS) * 1e6)
            for client in clients:
                client.close()
    report.samples[f"streamed {what}"] = spent
    chat = median(spent["chat"])
    report.add(f"chat, CPU per chunk, {what}", chat, "µs")
    for name in PATHS:
        if name != "chat":
            report.add(f"{name}, CPU per chunk over chat, {what}", median(spent[name]) - chat, "µs", goal=_goal(name, "≤ 60"))


def _goal(name: str, goal: str) -> str:
    return "" if name == STORED else goal


def _body(name: str, tokens: int, more: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    directive = "[[fake:" + json.dumps({"tokens": tokens, **more}) + "]]"
    body: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": f"{directive} say something"}]}
    if name in ("Responses", STORED):
        asked = {"model": "fake", "input": body["messages"], "stream": stream, "max_output_tokens": 2 * tokens}
        return asked | {"store": name == STORED}
    if name == "Ollama":
        return body | {"stream": stream, "options": {"num_predict": 2 * tokens}}
    return body | {"stream": stream, "max_tokens": 2 * tokens}
