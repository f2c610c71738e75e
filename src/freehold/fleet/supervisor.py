"""All workers of this server, one unit a model."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from pathlib import Path

from freehold.errors import StoreError
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment
from freehold.fleet.keeping import Keeper
from freehold.fleet.unit import State, Unit, WorkerStatus
from freehold.fleet.watch import Limits
from freehold.hardware.plan import Plan
from freehold.settings import TimeoutSettings, WorkerSettings
from freehold.store.manifest import Task

__all__ = ["State", "Supervisor", "WorkerStatus"]


class Supervisor:
    """All workers of this server. Sockets live in `runtime`, a folder of mode 0700, and in it up to `kv_keep_mib` MiB of the KV
    cache of models that were evicted."""

    def __init__(self, runtime: Path, timeouts: TimeoutSettings, worker: WorkerSettings | None = None, kv_keep_mib: int = 0):
        self._runtime = runtime
        self._limits = Limits(timeouts, worker or WorkerSettings())
        self._keeper = Keeper(runtime / "kv", kv_keep_mib * 2**20)
        self._units: dict[str, Unit] = {}
        self.number = secrets.token_hex(8)  # of this server: engines elsewhere that lead back to it are known by it

    def configure(self, timeouts: TimeoutSettings, worker: WorkerSettings, kv_keep_mib: int) -> None:
        """New limits, also for workers that run; failed ones are tried again."""
        self._limits.timeouts, self._limits.worker = timeouts, worker
        self._keeper.limit(kv_keep_mib * 2**20)
        for unit in self._units.values():
            unit.forgive()

    async def ensure_ready(self, deployment: Deployment, instead_of: EngineClient | None = None) -> EngineClient:
        """A client of a worker that serves this deployment, started if there is none. `instead_of` is one that just failed.

        A worker of the same name that serves another deployment is stopped first: its model was installed anew. Raises
        ModelFailed, with the time until the next try, when the worker does not start. A caller that is cancelled leaves the
        load going: others may wait for it.
        """
        unit = self._units.get(deployment.name)
        if unit is not None and unit.deployment != deployment:
            await self.stop(deployment.name)
        return await self._unit(deployment).ready(instead_of)

    def begin(self, deployment: Deployment) -> None:
        """Starts the worker without waiting for it."""
        self._unit(deployment)

    def forgive(self, model: str) -> None:
        """Forgets how often a model's worker has crashed: one that has failed is started again at once."""
        unit = self._units.get(model)
        if unit is not None:
            unit.forgive()

    async def stop(self, model: str, *, keep: bool = False) -> None:
        """Ends a model's worker. `keep` says that the model only makes room: long prompts are saved for when it comes back."""
        unit = self._units.get(model)
        if keep and unit is not None:
            await unit.keep_prompts()
        else:
            self._keeper.drop(model)
        unit = self._units.pop(model, None)
        if unit is not None:
            await unit.stop()
        self._keeper.tidy()

    async def close(self) -> None:
        """Stops every worker, all at once."""
        units, self._units = list(self._units.values()), {}
        await asyncio.gather(*(unit.stop() for unit in units))

    def forget(self, model: str) -> None:
        """Drops what is kept of a model that has left."""
        self._keeper.drop(model)

    def state(self, model: str) -> State | None:
        unit = self._units.get(model)
        return unit.state if unit else None

    def effective(self, model: str) -> Plan | None:
        """The plan that a model's worker follows, which is smaller than its deployment's where memory ran out."""
        unit = self._units.get(model)
        return unit.plan if unit else None

    def via(self, model: str) -> tuple[str, ...]:
        """The numbers of the Freehold servers that a request for the model passes through, this one first."""
        unit = self._units.get(model)
        return (self.number, *(unit.via if unit else ()))

    def clients(self, task: Task) -> dict[str, EngineClient]:
        """The workers on this machine that are ready and do that, by their models."""
        units = (unit for unit in self._units.values() if unit.deployment.task == task and unit.deployment.remote is None)
        return {unit.deployment.name: unit.client for unit in units if unit.client is not None}

    def status(self) -> list[WorkerStatus]:
        return [unit.status() for unit in self._units.values()]

    def _unit(self, deployment: Deployment) -> Unit:
        unit = self._units.get(deployment.name)
        if unit is None:
            # Told apart by a digest: names may be long, socket paths may not. An old version may still be going.
            identity = f"{deployment.name} {deployment.weights}"
            socket = self._runtime / f"{hashlib.sha256(identity.encode()).hexdigest()[:12]}.sock"
            if len(str(socket)) > 100:
                raise StoreError("The runtime folder's path is too long for a unix socket.", "Set TMPDIR to a short path.")
            unit = self._units[deployment.name] = Unit(deployment, socket, self._limits, self._keeper, self.number)
        return unit
