"""The test of a build before it may replace anything: it serves a model as it will later, and answers as the prebuilt one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from freehold.builder.sample import write_sample
from freehold.errors import BuildFailed, FreeholdError
from freehold.fleet.builds import Backend, Build, prebuilt
from freehold.fleet.client import EngineClient
from freehold.fleet.endings import of_exit, telling
from freehold.fleet.engines import Deployment, launch
from freehold.fleet.process import Process
from freehold.hardware.commands import run as run_program
from freehold.hardware.plan import Knobs, Plan

_PROMPT, _TOKENS = "The capital of France is", 16
_LOAD, _ANSWER = 180.0, 120.0  # seconds; a first load on a GPU may compile its kernels
_ALL_LAYERS = 999
_TOLD = 12  # lines of a failed build that are shown
# What llama.cpp calls the devices of a backend, followed by a number.
_DEVICES: dict[Backend, tuple[str, ...]] = {
    "cuda": ("CUDA",),
    "rocm": ("ROCm", "HIP"),
    "vulkan": ("Vulkan",),
    "metal": ("MTL", "Metal"),
}


@dataclass(frozen=True)
class Model:
    """What a build is tested with: a name for people and a GGUF file; None takes a tiny one that is written for it."""

    name: str = "a tiny model"
    weights: Path | None = None


def prove(build: Build, model: Model, sandbox: str) -> str:
    """One line on how the build did. Raises BuildFailed when it does not do."""
    _has_its_device(build)
    return asyncio.run(_prove(build, model, sandbox))


async def _prove(build: Build, model: Model, sandbox: str) -> str:
    with tempfile.TemporaryDirectory(prefix="fh-smoke-") as runtime:
        weights = model.weights or write_sample(Path(runtime) / "sample.gguf")
        tokens = await _answer(build, weights, sandbox, Path(runtime))
        expected = await _answer(prebuilt(), weights, sandbox, Path(runtime))
    same = next((i for i, pair in enumerate(zip(tokens, expected, strict=False)) if pair[0] != pair[1]), len(expected))
    # Other instructions round otherwise, so answers may part after a while; from the first token on they must not.
    if not same:
        raise BuildFailed(
            f"The engine build {build.name} answers otherwise than the prebuilt one: {_PROMPT!r} goes on wrongly."
        )
    return f"{model.name}: {same} of {len(expected)} tokens as the prebuilt build"


async def _answer(build: Build, weights: Path, sandbox: str, runtime: Path) -> list[int]:
    """The tokens that a build continues a text with, greedily."""
    plan = Plan(
        context=256,
        slots=1,
        knobs=Knobs(threads=2, threads_batch=2, build=build.name),
        gpu_layers=0 if build.backend == "cpu" else _ALL_LAYERS,
    )
    deployment = Deployment("smoke", "chat", "llama.cpp", plan, sandbox, weights=weights)
    async with _serving(build, deployment, runtime / "smoke.sock") as client:
        metrics = await client.get("/metrics", within=_ANSWER)
        if metrics.status != 200 or b"llamacpp:" not in metrics.body:
            raise BuildFailed(f"The engine build {build.name} has no metrics.")
        body = {"prompt": _PROMPT, "n_predict": _TOKENS, "temperature": 0, "return_tokens": True, "ignore_eos": True}
        answer = await client.post("/completion", json.dumps(body).encode(), within=_ANSWER)
        try:
            tokens = json.loads(answer.body)["tokens"]
        except (ValueError, KeyError, TypeError):
            tokens = None
        if answer.status != 200 or not isinstance(tokens, list) or not tokens or not all(type(t) is int for t in tokens):
            raise BuildFailed(f"The engine build {build.name} does not complete a text (status {answer.status}).")
        return tokens


@contextlib.asynccontextmanager
async def _serving(build: Build, deployment: Deployment, socket: Path) -> AsyncIterator[EngineClient]:
    """The build's worker, confined, once it says that it is ready."""
    try:
        process = await Process.spawn(launch(deployment, socket, build=build), socket)
    except OSError as error:
        raise BuildFailed(f"The engine build {build.name} cannot be started: {error.strerror}.") from None
    try:
        client = EngineClient(socket)
        await _ready(build, process, client)
        yield client
    except FreeholdError as error:
        if isinstance(error, BuildFailed):
            raise
        raise BuildFailed(f"The engine build {build.name} does not answer: {error.message}") from None
    finally:
        await process.stop(grace=2.0)


async def _ready(build: Build, process: Process, client: EngineClient) -> None:
    deadline = time.monotonic() + _LOAD
    while time.monotonic() < deadline:
        if not process.alive:
            code = await process.exited()
            await process.stop(0)  # its log is complete then
            how = of_exit(code, process.log, "").reason.rstrip(".")
            raise BuildFailed(
                f"The engine build {build.name} does not serve a model: {how}.", lines=tuple(telling(process.log)[-_TOLD:])
            )
        with contextlib.suppress(FreeholdError):
            if (await client.get("/health", within=2.0)).status == 200:
                return
        await asyncio.sleep(0.05)
    raise BuildFailed(f"The engine build {build.name} did not load a model within {_LOAD:.0f} s.")


def _has_its_device(build: Build) -> None:
    """A build for a GPU must find one: it would serve from the processor otherwise, and nobody would know."""
    wanted = _DEVICES.get(build.backend)
    if wanted is None:
        return
    if build.program is not None:
        ran = run_program((str(build.program), "--list-devices"))
        names = re.findall(r"^\s*([A-Za-z]+)\d*:", ran.out, re.MULTILINE)
    else:
        ran = run_program((sys.executable, "-m", "freehold.workers.devices", str(build.site)))
        names = [line.rstrip("0123456789") for line in ran.out.split()]
    if not set(wanted) & set(names):
        told = tuple(line for line in (ran.out + ran.err).splitlines() if line.strip())[-_TOLD:]
        raise BuildFailed(f"The engine build {build.name} finds no GPU for {build.backend} on this machine.", lines=told)
