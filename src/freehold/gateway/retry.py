"""A second try for a request whose worker died under it, where nobody can tell that there was a first."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from freehold.errors import WorkerDied
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment
from freehold.fleet.supervisor import Supervisor
from freehold.telemetry import Telemetry, log

Result = TypeVar("Result")
_REMEMBERED = 1000
_KILLS = 2


@dataclass
class Suspects:
    """Requests that were alone with a worker when it died, by digest, and how often: one that kills workers gets no other.

    Their text is not kept."""

    _kills: OrderedDict[bytes, int] = field(default_factory=OrderedDict)

    def note(self, digest: bytes) -> None:
        self._kills[digest] = self._kills.pop(digest, 0) + 1
        if len(self._kills) > _REMEMBERED:
            self._kills.popitem(last=False)

    def kills_workers(self, digest: bytes) -> bool:
        return self._kills.get(digest, 0) >= _KILLS


@dataclass(frozen=True)
class Retry:
    """One retry at most, on the worker that replaces the one that died."""

    supervisor: Supervisor
    suspects: Suspects
    telemetry: Telemetry
    within: float

    async def run(
        self,
        client: EngineClient,
        deployment: Deployment,
        bodies: tuple[bytes, ...],
        attempt: Callable[[EngineClient], Awaitable[Result]],
        unseen: Callable[[WorkerDied], bool],
    ) -> Result:
        """What `attempt` gives. It is made again when the worker died and `unseen` says that nothing has come of it yet.

        Raises what the last attempt raised; the first one's WorkerDied when there is no new worker in time.
        """
        try:
            return await attempt(client)
        except WorkerDied as death:
            again = unseen(death) and not self._suspect(client, bodies, death)
            fresh = await self._replacement(client, deployment) if again else None
            if fresh is None:
                raise
        self.telemetry.retries.labels(deployment.name).inc()
        log("request tried again", level=30, model=deployment.name)
        try:
            return await attempt(fresh)
        except WorkerDied as death:
            self._suspect(fresh, bodies, death)
            raise

    async def _replacement(self, client: EngineClient, deployment: Deployment) -> EngineClient | None:
        """Raises ModelFailed when there will be none soon: that tells more than the death did."""
        try:
            async with asyncio.timeout(self.within):
                return await self.supervisor.ensure_ready(deployment, instead_of=client)
        except TimeoutError:
            return None

    def _suspect(self, client: EngineClient, bodies: tuple[bytes, ...], death: WorkerDied) -> bool:
        """Notes who was alone with a worker that died; whether this request has killed too many."""
        digest = hashlib.sha256(b"\0".join(bodies)).digest()
        if death.reached and client.burden.most_requests <= len(bodies):
            self.suspects.note(digest)
        return self.suspects.kills_workers(digest)
