"""What a native build is worth: the same model on it and on the prebuilt one, each called on its worker's own socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import cpu_seconds
from benchmarks.report import Report, median
from freehold.errors import FreeholdError
from freehold.fleet import builds
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment, launch
from freehold.fleet.process import Process
from freehold.hardware.plan import PREBUILT, Knobs, Plan
from freehold.hardware.threads import engine_threads
from freehold.settings import load
from freehold.store.store import Store

MODEL = "smollm2:135m"
BUILD = "native"
STREAMS = (1, 4, 8)
_TOKENS = 64
_WORDS = 110  # of a prompt to be read, about a token each
_PATIENCE = 300.0  # seconds for one answer
_numbers = itertools.count(1)


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """Needs the starter chat model and a native build (`freehold engine build`) in `data_dir`."""
    folder = data_dir or load().data_dir
    store = Store(folder)
    try:
        weights = store.serving(store.get(MODEL), "weights")
        native = builds.get(builds.folder(folder), BUILD)
    except FreeholdError as error:
        sys.exit(f"this benchmark needs {MODEL} and a native build: {error}")
    report = Report(
        f"Native build against the prebuilt one ({MODEL}, {engine_threads()} threads; {native.version}, {native.made})"
    )
    assert weights is not None
    asyncio.run(_measure(report, 2 if quick else 5, weights, builds.folder(folder)))
    return report


@dataclass(frozen=True)
class Speed:
    """Tokens a second of all streams together, and tokens for each second that the engine's threads computed: the second does
    not care who else uses the machine."""

    second: float
    cpu_second: float


@dataclass(frozen=True)
class Engine:
    client: EngineClient
    pid: int


async def _measure(report: Report, repetitions: int, weights: Path, root: Path) -> None:
    async with _serving(PREBUILT, weights, root) as prebuilt, _serving(BUILD, weights, root) as native:
        for phase, streams in itertools.product((_prefill, _decode), STREAMS):
            speeds: dict[str, list[Speed]] = {PREBUILT: [], BUILD: []}
            for turn in range(repetitions + 1):
                order = [(PREBUILT, prebuilt), (BUILD, native)]
                for name, engine in order if turn % 2 else reversed(order):
                    speed = await phase(engine, streams)
                    if turn:  # the first turn warms up
                        speeds[name].append(speed)
            _report(report, f"{phase.__name__.strip('_')}, {streams} stream{'s' if streams > 1 else ''}", speeds)


def _report(report: Report, label: str, speeds: dict[str, list[Speed]]) -> None:
    for name, measured in speeds.items():
        values = [speed.second for speed in measured]
        report.add(f"{label}, {name}", median(values), "tokens/s", note=f"{min(values):.1f} to {max(values):.1f}")
    pairs = list(zip(speeds[BUILD], speeds[PREBUILT], strict=True))
    # Ratios of neighbouring rounds: what disturbs the machine for a while disturbs both.
    for what, ratios in (
        ("tokens/s", [new.second / old.second for new, old in pairs]),
        ("tokens/CPU-s", [new.cpu_second / old.cpu_second for new, old in pairs]),
    ):
        note = f"{min(ratios):.2f} to {max(ratios):.2f}"
        report.add(f"{label}, {BUILD} / {PREBUILT}, {what}", median(ratios), "", note=note)
    report.samples[label] = {name: [vars(speed) for speed in measured] for name, measured in speeds.items()}


async def _prefill(engine: Engine, streams: int) -> Speed:
    """Prompt tokens a second, all streams together; every prompt is new."""
    bodies = [
        {"prompt": f"{next(_numbers)} " + "ship light sea grey book " * (_WORDS // 5), "n_predict": 1} for _ in range(streams)
    ]
    return await _round(engine, bodies, "prompt_n")


async def _decode(engine: Engine, streams: int) -> Speed:
    """Generated tokens a second, all streams together."""
    bodies = [{"prompt": f"Story {next(_numbers)}:", "n_predict": _TOKENS, "ignore_eos": True} for _ in range(streams)]
    return await _round(engine, bodies, "predicted_n")


async def _round(engine: Engine, bodies: list[dict[str, Any]], counted: str) -> Speed:
    given = [json.dumps({"temperature": 0, "cache_prompt": False, **body}).encode() for body in bodies]
    began, spent = time.perf_counter(), cpu_seconds(engine.pid)
    answers = await asyncio.gather(*(engine.client.post("/completion", body, _PATIENCE) for body in given))
    lasted, spent = time.perf_counter() - began, cpu_seconds(engine.pid) - spent
    tokens = sum(int(json.loads(answer.body)["timings"][counted]) for answer in answers)
    return Speed(tokens / lasted, tokens / spent)


@contextlib.asynccontextmanager
async def _serving(name: str, weights: Path, root: Path) -> AsyncIterator[Engine]:
    """A worker on that build, ready."""
    threads = engine_threads()
    knobs = Knobs(threads=threads, threads_batch=threads, build=name)
    plan = Plan(context=512, slots=max(STREAMS), knobs=knobs)
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as folder:
        socket = Path(folder) / "worker.sock"
        deployment = Deployment(name, "chat", "llama.cpp", plan, "auto", weights=weights, builds=root)
        process = await Process.spawn(launch(deployment, socket), socket)
        client = EngineClient(socket)
        try:
            async with asyncio.timeout(120):
                while not await _healthy(client):
                    if not process.alive:
                        sys.exit(f"the build {name} ended: {process.last_words()}")
                    await asyncio.sleep(0.05)
            yield Engine(client, process.pid)
        finally:
            await process.stop(5)


async def _healthy(client: EngineClient) -> bool:
    with contextlib.suppress(FreeholdError):
        return (await client.get("/health", within=2.0)).status == 200
    return False
