"""What ends a worker that serves: its own end, a main loop that does not turn any more, or memory beyond its plan."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from freehold.errors import EngineTimeout, FreeholdError
from freehold.fleet.client import EngineClient
from freehold.fleet.endings import Ending
from freehold.fleet.engines import Deployment, pulse
from freehold.fleet.loading import ending_of
from freehold.fleet.process import Process
from freehold.fleet.pulse import Pace, Silence, Work, stuck
from freehold.fleet.vitals import anonymous_bytes, vitals
from freehold.hardware.plan import HOST
from freehold.settings import TimeoutSettings, WorkerSettings

_DAY = 86_400.0
_LOOKS = 8  # looks at the process in the time that a worker may be silent


@dataclass
class Limits:
    """The settings that supervision follows; they may be replaced while workers run."""

    timeouts: TimeoutSettings
    worker: WorkerSettings


class Watch:
    """Watches one process until it has ended, or has to be."""

    def __init__(self, process: Process, client: EngineClient, deployment: Deployment, limits: Limits, pace: Pace):
        self._process = process
        self._client = client
        self._pulse = pulse(deployment)
        self._plan = plan = deployment.plan
        # A text to embed or to rank is one batch (freehold.workers.llama).
        pools = deployment.task in ("embedding", "rerank")
        self._batch = max(plan.knobs.batch, plan.context) if pools else plan.knobs.batch
        self._limits = limits
        self._pace = pace
        self._before = (0, 0)  # the most requests and bytes in the interval before: one that left may still be computed

    async def ending(self) -> Ending:
        """Returns when the process is to be replaced, and why; a hanging or too large one is killed first."""
        exited = asyncio.create_task(self._process.exited())
        unfit = asyncio.create_task(self._unfit())
        try:
            await asyncio.wait({exited, unfit}, return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                return await ending_of(self._process, exited.result())
            await self._process.stop(0)
            return unfit.result()
        finally:
            for task in (exited, unfit):
                task.cancel()

    async def _unfit(self) -> Ending:
        """Returns when the worker is stuck, or takes more memory than it may."""
        while True:
            if too_large := self._too_large():
                return too_large
            await asyncio.sleep(self._limits.timeouts.heartbeat)
            if stands := await self._beat():
                return stands

    async def _beat(self) -> Ending | None:
        """One sign of life, or why none comes."""
        least = max(self._limits.timeouts.hang - self._limits.timeouts.heartbeat, 0.1)
        answer = asyncio.create_task(self._client.get(self._pulse, within=_DAY))
        asked, before = time.monotonic(), vitals(self._process.pid)
        still = True
        try:
            while True:
                await asyncio.wait({answer}, timeout=least / _LOOKS)
                if answer.done():
                    return self._alive(answer)
                now = vitals(self._process.pid)
                still = still and now is not None and not now.awake
                cpu = now.cpu - before.cpu if now and before else None
                silence = Silence(time.monotonic() - asked, cpu, still, bool(now and now.stopped))
                if why := stuck(silence, self._work(), self._pace, least):
                    return Ending("hang", f"{why}, and was killed")
                if too_large := self._too_large():
                    return too_large
        finally:
            answer.cancel()

    def _alive(self, answer: asyncio.Task[object]) -> Ending | None:
        try:
            answer.result()
        except EngineTimeout:
            return Ending("hang", "it stopped answering, and was killed")
        except FreeholdError:  # it hung up on us: it is ending, which is seen elsewhere, or takes no connection any more
            return Ending("hang", "it takes no requests any more, and was killed") if self._process.alive else None
        burden = self._client.burden
        self._before = (burden.most_requests, burden.most_size)
        burden.settle()
        return None

    def _work(self) -> Work:
        burden, (requests, size) = self._client.burden, self._before
        return Work(
            requests=max(burden.most_requests, requests),
            size=max(burden.most_size, size),
            batch=self._batch,
            context=self._plan.context,
        )

    def _too_large(self) -> Ending | None:
        planned = self._plan.on(HOST)
        used = anonymous_bytes(self._process.pid) if planned else None
        if used is None:
            return None
        worker = self._limits.worker
        most = int(planned * worker.memory_factor) + worker.memory_slack_mib * 2**20
        if used <= most:
            return None
        figures = f"{_gib(used)} of memory, and {_gib(most)} is the most for the {_gib(planned)} planned"
        return Ending("memory_limit", f"it took {figures}; it was killed")


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
