"""The test of an engine environment before it may replace anything: its worker draws with a tiny pipeline, as it later will."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from freehold.builder.run import run
from freehold.builder.served import serving
from freehold.errors import BuildFailed
from freehold.fleet import environments
from freehold.fleet.engines import Deployment, launch
from freehold.fleet.environments import Device, Environment
from freehold.hardware.plan import Place, Plan

_ANSWER = 180.0  # seconds; a GPU's kernels may have to be compiled first
_TOLD = 12  # lines of a failed environment that are shown
_PNG = b"\x89PNG\r\n\x1a\n"
_DEVICES: Mapping[Device, str] = MappingProxyType({"cpu": "cpu", "cuda": "cuda:0", "rocm": "cuda:0", "metal": "mps"})


def draw(environment: Environment, sandbox: str) -> str:
    """One line on how it did. Raises BuildFailed when it does not do."""
    with tempfile.TemporaryDirectory(prefix="fh-trial-") as folder:
        model = Path(folder) / "model"
        _write(environment, model, Path(folder))
        return asyncio.run(_draw(environment, sandbox, model, Path(folder) / "trial.sock"))


def _write(environment: Environment, model: Path, folder: Path) -> None:
    argv = environments.argv(environment.python, "freehold.workers.images.sample", str(model))
    code, lines = run(argv, folder, folder / "log", lambda line: None)
    if code:
        raise BuildFailed(
            f"The engine {environment.name} does not run: {lines[-1] if lines else 'it said nothing'}",
            lines=tuple(lines[-_TOLD:]),
        )


async def _draw(environment: Environment, sandbox: str, model: Path, socket: Path) -> str:
    place = Place(device=_DEVICES[environment.device])
    deployment = Deployment("trial", "image", environment.name, Plan(context=1, slots=1, place=place), sandbox, folder=model)
    started = launch(deployment, socket, environment=environment)
    async with serving(f"engine {environment.name}", started, socket) as client:
        body = {"prompt": "a tree", "steps": 2, "seed": 1}
        answer = await client.post("/v1/images/generations", json.dumps(body).encode(), within=_ANSWER)
    if answer.status != 200 or not _picture(answer.body).startswith(_PNG):
        raise BuildFailed(f"The engine {environment.name} does not draw a picture (status {answer.status}).")
    return f"a tiny model drew a picture on {place.device}"


def _picture(body: bytes) -> bytes:
    try:
        table: Any = json.loads(body)
        return base64.b64decode(table["data"][0]["b64_json"])
    except (ValueError, KeyError, TypeError, IndexError):
        return b""
