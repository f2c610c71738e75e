"""The programs under test, and what can be asked of them while they run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.client import Connection, request
from benchmarks.processes import Gateway, fake_model, gateway

CHAT = "/v1/chat/completions"


def chat(text: str = "one two three", model: str = "fake", faults: Mapping[str, Any] | None = None, **fields: Any) -> bytes:
    """The bytes of a chat request; `faults` tell the fake engine how its answer goes."""
    said = f"[[fake:{json.dumps(faults)}]] {text}" if faults else text
    return request(CHAT, {"model": model, "messages": [{"role": "user", "content": said}], **fields})


@contextlib.contextmanager
def fake(slots: int, env: Mapping[str, str] | None = None, **others: Mapping[str, Any]) -> Iterator[tuple[Gateway, Path]]:
    """`freehold up` on fake models: "fake", "fake-embedding" and those named. Ready; with its data folder."""
    with tempfile.TemporaryDirectory(prefix="fh-soak-") as name:
        folder = Path(name)
        fake_model(folder, "fake", slots=slots)
        fake_model(folder, "fake-embedding", "embedding", slots=slots)
        for other, options in others.items():
            fake_model(folder, other, **options)
        usual = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake-embedding", "FREEHOLD_STARTER": "false"}
        with gateway(folder, usual | dict(env or {})) as running:
            running.ready(60.0)
            yield running, folder


@contextlib.contextmanager
def real(data_dir: Path | None) -> Iterator[Gateway]:
    """`freehold up` on the starter models, ready; the first run pulls them."""
    with gateway(data_dir) as running:
        running.ready()
        yield running


@contextlib.asynccontextmanager
async def connection(address: int | Path) -> AsyncIterator[Connection]:
    opened = await Connection.open(address)
    try:
        yield opened
    finally:
        opened.close()


async def get(address: int | Path, path: str) -> Any:
    """JSON or text from a path of the server's or a worker's."""
    async with connection(address) as line:
        answer = await line.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    text = answer.body.decode()
    return json.loads(text) if text[:1] in "{[" else text


async def metric(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    total = 0.0
    for line in (await get(port, "/metrics")).splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', found[2] or "")).items():
            total += float(found[3])
    return total


async def worker(port: int, model: str) -> dict[str, Any]:
    return next(row for row in (await get(port, "/api/ps"))["workers"] if row["model"] == model)


async def idle(port: int, model: str, within: float = 30.0, pause: float = 0.005, others: int = 0) -> float:
    """Seconds until nobody, but for `others`, holds or awaits one of a model's slots."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (row := await worker(port, model))["busy"] > others or row["queued"]:
        if loop.time() - began > within:
            raise TimeoutError(f"{model} is still busy after {within} s")
        await asyncio.sleep(pause)
    return loop.time() - began


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def closed_loop(port: int, data: bytes, clients: int, seconds: float) -> float:
    """Requests answered a second, by clients that each wait for their answer."""
    deadline, answered = time.perf_counter() + seconds, 0

    async def one() -> None:
        nonlocal answered
        async with connection(port) as line:
            while time.perf_counter() < deadline:
                answer = await line.ask(data)  # before the sum is read: others add to it meanwhile
                answered += answer.status == 200

    await asyncio.gather(*(one() for _ in range(clients)))
    return answered / seconds
