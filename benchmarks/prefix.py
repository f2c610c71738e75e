"""Whether it pays to keep the KV cache of a prompt over an eviction: reading it anew against saving and restoring it."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import Report, median
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment, launch
from freehold.fleet.loading import load
from freehold.fleet.process import Process
from freehold.hardware.plan import Knobs, Plan
from freehold.hardware.threads import engine_threads
from freehold.settings import load as load_settings
from freehold.store.store import Store

_STARTER = "smollm2:135m"
_LENGTHS = (512, 2048, 4096)
_CONTEXT = 8192


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """A worker of its own, one slot; each prompt is read, saved, and restored after a new start of the worker."""
    report = Report("A prompt's KV cache over an eviction")
    return asyncio.run(_measure(report, Store(load_settings(flags={"data_dir": data_dir}).data_dir), 1 if quick else 3))


async def _measure(report: Report, store: Store, rounds: int) -> Report:
    for length in _LENGTHS:
        samples: dict[str, list[float]] = {"prefill_s": [], "save_s": [], "restore_s": [], "mib": []}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="fh-bench-") as folder:
                await _round(_deployment(store), Path(folder), "word " * length, samples)
        report.samples[str(length)] = samples
        kept = median(samples["save_s"]) + median(samples["restore_s"])
        spread = f"{min(samples['prefill_s']):.2f} to {max(samples['prefill_s']):.2f} s in {rounds}"
        report.add(f"{length} tokens: read", median(samples["prefill_s"]), "s", note=spread)
        report.add(f"{length} tokens: save and restore", kept, "s", note=f"{median(samples['mib']):.0f} MiB")
    return report


def _deployment(store: Store) -> Deployment:
    threads = engine_threads()
    plan = Plan(_CONTEXT, 1, knobs=Knobs(threads=threads, threads_batch=threads))
    return Deployment(_STARTER, "chat", "llama.cpp", plan, "auto", weights=store.serving(store.get(_STARTER), "weights"))


async def _round(deployment: Deployment, folder: Path, prompt: str, samples: dict[str, list[float]]) -> None:
    body = {"prompt": prompt, "max_tokens": 1, "temperature": 0}
    async with _worker(deployment, folder) as client:
        seconds, read = await _post(client, "/v1/completions", body)
        samples["prefill_s"].append(seconds)
        seconds, saved = await _post(client, "/slots/0?action=save", {"filename": "kept"})
        samples["save_s"].append(seconds)
        samples["mib"].append(saved["n_written"] / 2**20)
    async with _worker(deployment, folder) as client:
        seconds, _ = await _post(client, "/slots/0?action=restore", {"filename": "kept"})
        samples["restore_s"].append(seconds)
        _, again = await _post(client, "/v1/completions", body)
    tokens, cached = read["usage"]["prompt_tokens"], again["usage"]["prompt_tokens_details"]["cached_tokens"]
    if cached < tokens - 1 or again["choices"][0]["text"] != read["choices"][0]["text"]:
        raise RuntimeError(f"of {tokens} tokens {cached} were restored, and the answer was {again['choices']}")


async def _post(client: EngineClient, path: str, body: dict[str, Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = await client.post(path, json.dumps(body).encode(), within=600)
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {answer.body[:300]!r}")
    return time.perf_counter() - began, json.loads(answer.body)


@asynccontextmanager
async def _worker(deployment: Deployment, folder: Path) -> AsyncIterator[EngineClient]:
    socket = folder / "worker.sock"
    process = await Process.spawn(launch(deployment, socket, kept=folder), socket)
    try:
        client = EngineClient(socket)
        await load(process, client, deployment, 60)
        yield client
    finally:
        await process.stop(2.0)
