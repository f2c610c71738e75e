"""The test of a build before it may replace anything: it serves a model as it will later, and answers as the prebuilt one."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from freehold.builder.sample import write_sample
from freehold.builder.served import serving
from freehold.errors import BuildFailed
from freehold.fleet.builds import Backend, Build, prebuilt
from freehold.fleet.engines import Deployment, launch
from freehold.hardware.commands import run as run_program
from freehold.hardware.plan import Knobs, Plan

_PROMPT, _TOKENS = "The capital of France is", 16
_ANSWER = 120.0  # seconds
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
    socket = runtime / "smoke.sock"
    async with serving(f"engine build {build.name}", launch(deployment, socket, build=build), socket) as client:
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
