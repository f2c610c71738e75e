"""Keeps workers running: one task owns each worker's state, callers ask for the outcome.

loading ──ready──> ready ──died, hung──> loading (after a pause that doubles with each failed start)
   └──failed──> failed ──pause over──> loading
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from freehold.errors import FreeholdError, ModelFailed, StoreError
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment, launch, warmup
from freehold.fleet.process import Process
from freehold.settings import TimeoutSettings
from freehold.telemetry import log

State = Literal["loading", "ready", "failed", "stopping"]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_STEADY = 30.0  # seconds of service after which a crash counts as the first again
_GRACE = 2.0


@dataclass(frozen=True)
class WorkerStatus:
    """`context` is tokens a request; times are seconds; `build` is the engine's (`freehold engine list`)."""

    model: str
    engine: str
    build: str
    state: State
    pid: int | None
    rss_bytes: int | None
    restarts: int
    uptime_s: float | None
    reason: str | None
    sandbox: dict[str, Any]
    slots: int
    context: int


class _Unit:
    """One model's worker over its successive processes. Its state is written by `_run` alone."""

    def __init__(self, deployment: Deployment, socket: Path, timeouts: TimeoutSettings):
        self.deployment = deployment
        self._socket = socket
        self._timeouts = timeouts
        self.state: State = "loading"
        self.reason: str | None = None
        self.restarts = 0
        self.process: Process | None = None
        self.since = time.monotonic()
        self._client: EngineClient | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._stopping = False  # beside the cancellation, which a library may lose: a stopped worker must not come back
        self._settled = asyncio.Event()  # set while the state is one that answers a caller: ready or failed
        self._task = asyncio.create_task(self._run(), name=f"worker {deployment.name}")

    async def ready(self) -> EngineClient:
        """Waits for the load in progress. Raises ModelFailed with the engine's reason when it does not succeed."""
        while True:
            await self._settled.wait()
            if self.state == "ready" and self._client is not None:
                return self._client
            if self.state == "failed":
                pause = max(0.1, self._retry_at - time.monotonic())
                raise ModelFailed(f"The model {self.deployment.name!r} does not start: {self.reason}", retry_after=pause)

    async def stop(self) -> None:
        self.state, self._stopping = "stopping", True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def status(self) -> WorkerStatus:
        process = self.process
        return WorkerStatus(
            model=self.deployment.name,
            engine=self.deployment.engine,
            build=self.deployment.plan.knobs.build,
            state=self.state,
            pid=process.pid if process else None,
            rss_bytes=process.rss_bytes() if process else None,
            restarts=self.restarts,
            uptime_s=round(time.monotonic() - self.since, 1) if self.state == "ready" else None,
            reason=self.reason if self.state != "ready" else None,
            sandbox=dict(process.confinement) if process else {},
            slots=self.deployment.slots,
            context=self.deployment.context,
        )

    async def _run(self) -> None:
        while True:
            try:
                async with self._serving() as process:
                    ending = await self._watch(process)
            except FreeholdError as error:
                ending = error.message
            except OSError as error:
                ending = f"the program cannot be started: {error.strerror}"
            if self._stopping:
                return
            self._settled.clear()
            await self._pause(ending)
            self.restarts += 1

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[Process]:
        """One process's life: spawned, loaded, proven by a real request, and reaped whatever happens."""
        self.state, self.since = "loading", time.monotonic()
        process = await Process.spawn(launch(self.deployment, self._socket), self._socket)
        self.process = process
        client = EngineClient(self._socket)
        try:
            await self._load(process, client)
            self._client = client
            self.state, self.since = "ready", time.monotonic()
            self._settled.set()
            log("worker ready", model=self.deployment.name, pid=process.pid, sandbox=process.confinement["network"])
            yield process
        finally:
            self._client = None
            self._settled.clear()
            await process.stop(_GRACE)  # first: whoever still reads from it sees its end, and says so to its client
            self.process = None

    async def _load(self, process: Process, client: EngineClient) -> None:
        exited = asyncio.create_task(process.exited())
        proven = asyncio.create_task(self._prove(client))
        try:
            await asyncio.wait({exited, proven}, timeout=self._timeouts.load, return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                await asyncio.sleep(0)  # let the log's last lines in
                raise ModelFailed(f"{exited.result()}. {await _words(process)}".strip())
            if not proven.done():
                raise ModelFailed(f"it was not ready after {self._timeouts.load:.0f} s. {process.last_words()}".strip())
            proven.result()
        finally:
            for task in (exited, proven):
                task.cancel()

    async def _prove(self, client: EngineClient) -> None:
        """Returns once the worker has answered a real request."""
        pause = 0.02
        while True:
            try:
                if (await client.get("/health", within=2.0)).status == 200:
                    break
            except FreeholdError:  # not listening yet
                pass
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)
        path, body = warmup(self.deployment)
        answer = await client.post(path, json.dumps(body).encode(), within=self._timeouts.load)
        if answer.status != 200:
            raise ModelFailed(f"its first answer was an error (status {answer.status}).")

    async def _watch(self, process: Process) -> str:
        """Returns why the process is to be replaced: its end is seen at once, a hang by a heartbeat."""
        exited = asyncio.create_task(process.exited())
        hung = asyncio.create_task(self._heartbeat())
        try:
            await asyncio.wait({exited, hung}, return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                return f"{exited.result()}. {await _words(process)}".strip()
            await process.stop(0)
            return "it stopped answering, and was killed"
        finally:
            for task in (exited, hung):
                task.cancel()

    async def _heartbeat(self) -> None:
        """Returns when the worker gives no sign of life for `hang` seconds."""
        within = max(self._timeouts.hang - self._timeouts.heartbeat, 0.1)
        client = self._client
        while client is not None:
            await asyncio.sleep(self._timeouts.heartbeat)
            try:
                await client.get("/health", within=within)
            except FreeholdError:
                return

    async def _pause(self, ending: str) -> None:
        """Backs off. A worker that had served for a while is restarted at once; one that fails to start, later each time."""
        served = self.state == "ready"
        if served and time.monotonic() - self.since > _STEADY:
            self._failures = 0
        self.reason = ending
        log("worker ended", level=30, model=self.deployment.name, reason=ending, served=served)
        if served and self._failures == 0:
            self._failures = 1
            self.state = "loading"
            return
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
        self._failures += 1
        self.state, self._retry_at = "failed", time.monotonic() + pause
        self._settled.set()
        await asyncio.sleep(pause)
        self._settled.clear()
        self.state = "loading"


async def _words(process: Process) -> str:
    """The log of a process that has just ended, complete."""
    await process.stop(0)
    return process.last_words()


class Supervisor:
    """All workers of this server. Sockets live in `runtime`, a folder of mode 0700."""

    def __init__(self, runtime: Path, timeouts: TimeoutSettings):
        self._runtime = runtime
        self._timeouts = timeouts
        self._units: dict[str, _Unit] = {}

    async def ensure_ready(self, deployment: Deployment) -> EngineClient:
        """A client of a worker that serves this deployment, started if there is none.

        A worker of the same name that serves another deployment is stopped first: its model was installed anew. Raises
        ModelFailed, with the time until the next try, when the worker does not start. A caller that is cancelled leaves the
        load going: others may wait for it.
        """
        unit = self._units.get(deployment.name)
        if unit is not None and unit.deployment != deployment:
            await self.stop(deployment.name)
        return await self._unit(deployment).ready()

    def begin(self, deployment: Deployment) -> None:
        """Starts the worker without waiting for it."""
        self._unit(deployment)

    async def stop(self, model: str) -> None:
        unit = self._units.pop(model, None)
        if unit is not None:
            await unit.stop()

    async def close(self) -> None:
        """Stops every worker, all at once."""
        units, self._units = list(self._units.values()), {}
        await asyncio.gather(*(unit.stop() for unit in units))

    def state(self, model: str) -> State | None:
        unit = self._units.get(model)
        return unit.state if unit else None

    def status(self) -> list[WorkerStatus]:
        return [unit.status() for unit in self._units.values()]

    def _unit(self, deployment: Deployment) -> _Unit:
        unit = self._units.get(deployment.name)
        if unit is None:
            # Told apart by a digest: names may be long, socket paths may not. An old version may still be going.
            identity = f"{deployment.name} {deployment.weights}"
            socket = self._runtime / f"{hashlib.sha256(identity.encode()).hexdigest()[:12]}.sock"
            if len(str(socket)) > 100:
                raise StoreError("The runtime folder's path is too long for a unix socket.", "Set TMPDIR to a short path.")
            unit = self._units[deployment.name] = _Unit(deployment, socket, self._timeouts)
        return unit
