"""Whether texts of many clients share the engine's batches: many clients with one text each, against one with as many texts."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.client import Client, request
from benchmarks.processes import gateway
from benchmarks.report import Report, median

MODEL = "all-minilm:22m"
CLIENTS = 32
_PATH = "/v1/embeddings"
_numbers = itertools.count(1)


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """Needs the starter embedding model, which `freehold up` pulls when it is not in `data_dir`."""
    report = Report(
        f"Embeddings ({MODEL}, short texts): {CLIENTS} clients with one text each, against one with {CLIENTS} texts"
    )
    rounds = 2 if quick else 7
    each = 2 if quick else 10
    many, one = list[float](), list[float]()
    with gateway(data_dir, {"FREEHOLD_DEFAULT_CHAT": MODEL, "FREEHOLD_QUEUE_SIZE": "100"}) as running:
        running.ready()
        uvloop.run(_clients(running.port, 2))
        for _ in range(rounds):
            many.append(uvloop.run(_clients(running.port, each)))
            one.append(uvloop.run(_batches(running.port, each)))
    report.add(f"{CLIENTS} clients", median(many), "texts/s", note=f"{min(many):.0f} to {max(many):.0f}")
    report.add("one client", median(one), "texts/s", note=f"{min(one):.0f} to {max(one):.0f}")
    report.add("clients / client", median([a / b for a, b in zip(many, one, strict=True)]), "", goal="≥ 0.8")
    report.samples["texts per second"] = {"clients": many, "client": one}
    return report


async def _clients(port: int, each: int) -> float:
    clients = [Client(port) for _ in range(CLIENTS)]

    async def ask(client: Client) -> None:
        for _ in range(each):
            await client.ask(request(_PATH, _body(1)))

    began = time.perf_counter()
    await asyncio.gather(*map(ask, clients))
    lasted = time.perf_counter() - began
    for client in clients:
        client.close()
    return CLIENTS * each / lasted


async def _batches(port: int, each: int) -> float:
    client = Client(port)
    began = time.perf_counter()
    for _ in range(each):
        await client.ask(request(_PATH, _body(CLIENTS)))
    lasted = time.perf_counter() - began
    client.close()
    return CLIENTS * each / lasted


def _body(count: int) -> dict[str, Any]:
    texts = [f"text number {next(_numbers)} is about the weather and the sea in winter" for _ in range(count)]
    return {"model": MODEL, "input": texts if count > 1 else texts[0]}
