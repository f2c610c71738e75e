"""One model's worker over its successive processes.

loading ──ready──> ready ──died, hung, too large──> loading (after a pause that doubles with each crash)
   └──failed──> failed ──pause over──> loading      (beyond the crash budget: only when somebody asks)
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from freehold.errors import FreeholdError, ModelFailed
from freehold.external import Address
from freehold.fleet.backoff import Wait, next_start
from freehold.fleet.client import EngineClient
from freehold.fleet.elsewhere import Elsewhere, ended, is_public
from freehold.fleet.endings import Ended, Ending, Kind
from freehold.fleet.engines import Deployment, Launch, launch, launch_command
from freehold.fleet.keeping import Keeper
from freehold.fleet.loading import checked, load
from freehold.fleet.process import Process
from freehold.fleet.pulse import Pace
from freehold.fleet.remote import UNTOLD, Remote, RemoteClient, listening_at
from freehold.fleet.vitals import group_resident_bytes, resident_bytes
from freehold.fleet.watch import Limits, Watch
from freehold.hardware.plan import HOST, Plan
from freehold.hardware.smaller import smaller
from freehold.telemetry import log

State = Literal["loading", "ready", "failed", "stopping"]
_GRACE = 2.0
_PATIENT_GRACE = 10.0  # for a program of the user's, which may have children of its own to end
_LOOK = 5.0  # seconds at most between two looks for an engine that runs elsewhere
_SELDOM = 5  # heartbeats between two looks at one that is there: it may be others' too, and each look is a connection
_SETTLING = 1.0  # seconds in which a worker that broke a connection is seen to be dead, if it is


@dataclass(frozen=True)
class WorkerStatus:
    """A worker as it is now. `context` is tokens a request, 0 where that is not known; times are seconds; `build` is that of
    llama.cpp.

    `progress` (0 to 1) is how much of a loading model is in memory, None when that cannot be told; `plan` sums up what was
    planned for it, and `reduced` says what was cut because memory ran out. Of one that ended, `failure` is the kind of its end,
    `reason` the story, and `retry_in_s` the time until the next start; with `given_up`, it takes a request or an order then.
    """

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
    progress: float | None = None
    plan: dict[str, Any] | None = None
    reduced: str | None = None
    failure: Kind | None = None
    retry_in_s: float | None = None
    given_up: bool = False


class Unit:
    """Its state is written by its own task alone; callers ask for the outcome."""

    def __init__(self, deployment: Deployment, socket: Path, limits: Limits, keeper: Keeper, server: str = ""):
        self.deployment = deployment
        self.plan = deployment.plan  # the one in force: smaller than the deployment's after memory has run out
        self.reduced: str | None = None
        self.state: State = "loading"
        self.restarts = 0
        self._socket = socket
        self._limits = limits
        self._keeper = keeper
        self._server = server
        self._launched: Launch | None = None
        self._ending: Ending | None = None
        self._process: Process | None = None
        self._since = time.monotonic()
        self._client: EngineClient | None = None
        self._crashes: list[float] = []
        self._hangs = 0  # in a row: the next process is given more time before it counts as stuck
        self._retry_at = 0.0
        self._given_up = False
        self._probation = False  # started again after it was given up: the next failure gives it up at once
        self._asked = asyncio.Event()
        self._stopping = False  # beside the cancellation, which a library may lose: a stopped worker must not come back
        self._settled = asyncio.Event()  # set while the state is one that answers a caller: ready or failed
        self._task = asyncio.create_task(self._run(), name=f"worker {deployment.name}")

    async def ready(self, instead_of: EngineClient | None = None) -> EngineClient:
        """Waits for the load in progress. Raises ModelFailed with the engine's reason when it does not succeed.

        `instead_of` is a client whose worker is known to be gone.
        """
        patient_until = time.monotonic() + _SETTLING
        while True:
            await self._settled.wait()
            if self._stopping:
                raise ModelFailed(f"The model {self.deployment.name!r} is being unloaded.", retry_after=1.0)
            if self.state == "failed":
                if not self._given_up or time.monotonic() < self._retry_at:
                    raise self._failed()
                self._probation = True
                self.revive()
            elif self._client is not None:
                if self._client is not instead_of or time.monotonic() > patient_until:
                    return self._client
                await asyncio.sleep(0.01)

    @property
    def via(self) -> tuple[str, ...]:
        """The Freehold servers behind an engine elsewhere."""
        return self._client.model.via if isinstance(self._client, RemoteClient) else ()

    @property
    def client(self) -> EngineClient | None:
        """Of the worker that is ready; None while there is none."""
        return self._client if self.state == "ready" else None

    def revive(self) -> None:
        """Ends the pause before the next start."""
        if self.state == "failed":
            self._settled.clear()
            self._asked.set()

    def forgive(self) -> None:
        """Forgets all crashes, and starts a failed worker at once."""
        self._crashes.clear()
        self._probation = False
        self.revive()

    async def keep_prompts(self) -> None:
        """Saves the KV cache of long prompts for the model's next worker, where that can be done. Nobody may use this one."""
        client, launched = self._client, self._launched
        if client is not None and launched is not None:
            await self._keeper.save(client, self.deployment, launched, self.plan)

    async def stop(self) -> None:
        self.state, self._stopping = "stopping", True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._settled.set()

    def status(self) -> WorkerStatus:
        process, ready = self._process, self.state == "ready"
        resident = resident_bytes if self.deployment.remote is None else group_resident_bytes
        rss = resident(process.pid) if process else None
        failed = self.state == "failed"
        return WorkerStatus(
            model=self.deployment.name,
            engine=self.deployment.engine,
            build=self.plan.knobs.build if self.deployment.engine == "llama.cpp" else "",
            state=self.state,
            pid=process.pid if process else None,
            rss_bytes=rss,
            restarts=self.restarts,
            uptime_s=round(time.monotonic() - self._since, 1) if ready else None,
            reason=self._ending.reason if self._ending and not ready else None,
            sandbox=dict(process.confinement) if process else _reach(self.deployment.remote, self._client),
            slots=self.plan.slots,
            context=0 if self.plan.context == UNTOLD else self.plan.context,
            progress=self._progress(rss),
            plan=_summary(self.plan),
            reduced=self.reduced,
            failure=self._ending.kind if self._ending and not ready else None,
            retry_in_s=_tenths_up(self._retry_at - time.monotonic()) if failed else None,
            given_up=failed and self._given_up,
        )

    def _progress(self, resident: int | None) -> float | None:
        """Weights on a GPU pass through memory without staying there: nothing here tells how many have."""
        if self.state == "ready":
            return 1.0
        weights = self.deployment.weights
        if self.state != "loading" or resident is None or self.plan.gpu_layers or weights is None:
            return None
        try:
            expected = self.plan.on(HOST) or weights.stat().st_size
        except OSError:
            return None
        return round(min(resident / max(expected, 1), 0.99), 2)

    def _failed(self) -> ModelFailed:
        pause = max(0.1, self._retry_at - time.monotonic())
        name, reason = self.deployment.name, self._ending.reason if self._ending else "it ended"
        if not self._given_up:
            how = "is not available" if self._is_elsewhere else "does not start"
            return ModelFailed(f"The model {name!r} {how}: {reason}", retry_after=pause)
        return ModelFailed(
            f"The model {name!r} has failed and is not started again for {pause:.0f} s, or until it is asked for "
            f"(freehold load {name}): {reason}",
            retry_after=pause,
        )

    async def _run(self) -> None:
        while True:
            ending = await self._life()
            if self._stopping:
                return
            self._settled.clear()
            looked = self._is_elsewhere and self.state != "ready"  # for an engine that was not there before either
            await self._aftermath(ending, again=looked and ending == self._ending)
            self.restarts += int(not looked)

    async def _life(self) -> Ending:
        """A process from its start to its end, and why it ended."""
        self.state, self._since = "loading", time.monotonic()
        try:
            await checked(self.deployment)
            if self.deployment.remote is not None:
                return await self._elsewhere(self.deployment.remote, self.deployment.remote.address)
            async with self._serving() as (process, client, pace):
                return await Watch(process, client, self._planned(), self._limits, pace).ending()
        except Ended as ended:
            return ended.ending
        except FreeholdError as error:
            return Ending("cannot_start", str(error))
        except OSError as error:
            return Ending("cannot_start", f"the program cannot be started: {error.strerror}")
        except Exception:  # noqa: BLE001 - a bug: without this task, whoever waits for the model would wait for ever
            log("unhandled", level=40, exc_info=True, model=self.deployment.name)
            return Ending("cannot_start", "this server met an error of its own, of which its log tells more")

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[tuple[Process, EngineClient, Pace]]:
        """One process's life: spawned, loaded, proven by a real request, and reaped whatever happens."""
        limit, kept = self._limits.worker.memory_limit_mib, self._keeper.folder(self.deployment)
        launched = self._launched = launch(self._planned(), self._socket, limit, kept=kept)
        process = self._process = await Process.spawn(launched, self._socket)
        client = EngineClient(self._socket)
        try:
            token_seconds = await load(process, client, self.deployment, self._limits.timeouts.load)
            await self._keeper.restore(client, self.deployment, launched)
            with self._ready(client):
                log("worker ready", model=self.deployment.name, pid=process.pid, sandbox=process.confinement["network"])
                yield process, client, self._pace(token_seconds)
        finally:
            await process.stop(_GRACE)  # first: whoever still reads from it sees its end, and says so to its client
            self._process = None

    @contextlib.contextmanager
    def _ready(self, client: EngineClient) -> Iterator[None]:
        """For as long as requests may be sent."""
        self._client = client
        self.state, self._since, self._probation = "ready", time.monotonic(), False
        self._settled.set()
        try:
            yield
        finally:
            self._client = None
            self._settled.clear()

    async def _elsewhere(self, remote: Remote, address: Address | None) -> Ending:
        """The life of an engine of another maker: from when it answers until it does not any more."""
        engine = Elsewhere(remote, self.deployment.name, self.deployment.plan.context, self._server)
        if address is None:
            return await self._own(remote, engine)
        client = await engine.connected(address)
        with self._serving_as(client):
            public = is_public(client.peer)
            log("external engine ready", level=30 if public else 20, model=self.deployment.name, at=remote.shown, public=public)
            return await engine.gone(client, lambda: self._limits.timeouts.heartbeat, _SELDOM)

    async def _own(self, remote: Remote, engine: Elsewhere) -> Ending:
        """The life of one that the user's command starts."""
        address = listening_at(remote, self._socket)
        self._socket.unlink(missing_ok=True)
        process = self._process = await Process.spawn(launch_command(self.deployment, remote, address), self._socket)
        process.confinement = {"network": "shared", "reason": "it is a program of the user's"}
        try:
            client = await engine.started(process, address, self.deployment.task, self._limits.timeouts.load)
            with self._serving_as(client):
                log("worker ready", model=self.deployment.name, pid=process.pid, sandbox="shared")
                looking = asyncio.create_task(engine.gone(client, lambda: self._limits.timeouts.heartbeat))
                return await ended(process, looking)
        finally:
            await process.stop(_PATIENT_GRACE)
            self._process = None

    @contextlib.contextmanager
    def _serving_as(self, client: RemoteClient) -> Iterator[None]:
        """With the context that the engine tells."""
        self.plan = replace(self.deployment.plan, context=client.model.context)
        with self._ready(client):
            yield

    def _planned(self) -> Deployment:
        return replace(self.deployment, plan=self.plan)

    def _pace(self, token_seconds: float) -> Pace:
        threads = max(self.plan.knobs.threads, self.plan.knobs.threads_batch)
        return Pace(token_seconds, threads, on_gpu=self.plan.gpu_layers > 0, patience=2.0**self._hangs)

    @property
    def _is_elsewhere(self) -> bool:
        """Whether nobody here can start the engine."""
        return self.deployment.remote is not None and self.deployment.remote.address is not None

    async def _aftermath(self, ending: Ending, *, again: bool) -> None:
        """Returns when the next process may be started. `again` says that it is as it was."""
        served, self._ending = self.state == "ready", ending
        level = 10 if again else 30
        log("worker ended", level=level, model=self.deployment.name, kind=ending.kind, reason=ending.reason, served=served)
        self._hangs = self._hangs + 1 if ending.kind == "hang" else 0
        if not served and ending.kind == "out_of_memory" and self._reduce(ending):
            self.state = "loading"
            return
        now = time.monotonic()
        self._crashes = [crash for crash in self._crashes if crash > now - self._limits.worker.crash_window] + [now]
        wait = next_start(self._crashes, now, served, self._limits.worker)
        if self._probation or ending.lasting:
            wait = Wait(self._limits.worker.cool_down, given_up=True)
        if self._is_elsewhere and not ending.lasting:
            wait = Wait(min(wait.seconds, _LOOK))  # it costs nothing to look again
        if wait.seconds:
            await self._pause(wait)
        self.state = "loading"

    def _reduce(self, ending: Ending) -> bool:
        """Makes the plan smaller, once; False when it was already, or cannot be."""
        less = smaller(self.plan, on_gpu=ending.on_gpu) if self.reduced is None else None
        if less is None:
            return False
        self.plan, self.reduced = less
        log("model made smaller", level=30, model=self.deployment.name, cut=self.reduced)
        return True

    async def _pause(self, wait: Wait) -> None:
        self._asked.clear()
        self.state, self._given_up = "failed", wait.given_up
        self._retry_at = time.monotonic() + wait.seconds
        self._settled.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if wait.given_up else wait.seconds):
                await self._asked.wait()
        self._settled.clear()


def _reach(remote: Remote | None, client: EngineClient | None) -> dict[str, Any]:
    """Where the requests of an engine elsewhere go."""
    if remote is None or remote.address is None:
        return {}
    return {"network": remote.shown, "public": is_public(client.peer) if isinstance(client, RemoteClient) else None}


def _tenths_up(seconds: float) -> float:
    return max(0, math.ceil(seconds * 10)) / 10


def _summary(plan: Plan) -> dict[str, Any]:
    """What `freehold ps` shows of a plan; `bytes` by device."""
    return {
        "bytes": {share.device: plan.on(share.device) for share in plan.memory},
        "kv_type": plan.kv_type,
        "gpu_layers": plan.gpu_layers,
        "threads": plan.knobs.threads,
        "tuned": plan.tuned or None,
    }
