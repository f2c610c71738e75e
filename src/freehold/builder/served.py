"""An engine's worker under test, before the engine may replace anything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from freehold.errors import BuildFailed, FreeholdError
from freehold.fleet.client import EngineClient
from freehold.fleet.endings import of_exit, telling
from freehold.fleet.engines import Launch
from freehold.fleet.process import Process

_LOAD = 180.0  # seconds; a first load on a GPU may compile its kernels
_TOLD = 12  # lines of a failed engine that are shown


@contextlib.asynccontextmanager
async def serving(name: str, started: Launch, socket: Path) -> AsyncIterator[EngineClient]:
    """The engine's worker, confined, once it says that it is ready. `name` is what it is called: "engine build native"."""
    try:
        process = await Process.spawn(started, socket)
    except OSError as error:
        raise BuildFailed(f"The {name} cannot be started: {error.strerror}.") from None
    try:
        client = EngineClient(socket)
        await _ready(name, process, client)
        yield client
    except FreeholdError as error:
        if isinstance(error, BuildFailed):
            raise
        raise BuildFailed(f"The {name} does not answer: {error.message}") from None
    finally:
        await process.stop(grace=2.0)


async def _ready(name: str, process: Process, client: EngineClient) -> None:
    deadline = time.monotonic() + _LOAD
    while time.monotonic() < deadline:
        if not process.alive:
            code = await process.exited()
            await process.stop(0)  # its log is complete then
            how = of_exit(code, process.log, "").reason.rstrip(".")
            raise BuildFailed(f"The {name} does not serve a model: {how}.", lines=tuple(telling(process.log)[-_TOLD:]))
        with contextlib.suppress(FreeholdError):
            if (await client.get("/health", within=2.0)).status == 200:
                return
        await asyncio.sleep(0.05)
    raise BuildFailed(f"The {name} did not load a model within {_LOAD:.0f} s.")
