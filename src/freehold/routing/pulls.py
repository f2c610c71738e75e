"""Pulls in progress: jobs of the server, not of the client that asked. One owner of all."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from freehold.errors import ModelPulling, NotFound, StoreError
from freehold.store.jobs import PullJob
from freehold.store.store import Store
from freehold.telemetry import log

State = Literal["running", "done", "failed", "cancelled"]
_KEPT = 100
_LOOK = 0.2  # seconds between two looks at how far a pull is
_SIGN_OF_LIFE = 10.0  # seconds


@dataclass
class Pull:
    """One pull and how it stands; written by its own task alone."""

    id: str
    reference: str
    job: PullJob
    name: str | None
    state: State = "running"
    error: StoreError | None = None

    def as_json(self) -> dict[str, Any]:
        progress = self.job.progress
        error = {"message": self.error.message, "remedy": self.error.remedy} if self.error else None
        return {
            "id": self.id,
            "object": "pull",
            "reference": self.reference,
            "name": self.name,
            "state": self.state,
            "progress": asdict(progress) if progress else None,
            "error": error,
        }


class Pulls:
    """Starts, follows and cancels pulls."""

    def __init__(self, store: Store, registry: str | None = None, installed: Callable[[str], None] = lambda name: None):
        self._store = store
        self._registry = registry
        self._installed = installed  # hears the name of each model that has come
        self._pulls: dict[str, Pull] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)

    def begin(self, reference: str, name: str | None = None, sha256: str | None = None) -> Pull:
        """Starts a pull, or returns the one of the same thing that already runs."""
        for pull in self._pulls.values():
            if pull.state == "running" and (pull.reference, pull.job.name) == (reference, name):
                return pull
        job = PullJob(self._store.data_dir, reference, name=name, sha256=sha256, registry=self._registry)
        pull = Pull(id=f"pull_{next(self._numbers)}", reference=reference, job=job, name=name)
        self._pulls[pull.id] = pull
        self._tasks[pull.id] = asyncio.create_task(self._run(pull), name=pull.id)
        self._forget_old()
        return pull

    async def watch(self, pull: Pull) -> AsyncGenerator[dict[str, Any] | None, None]:
        """How the pull stands, whenever that has changed, and at last how it ended; None now and then while nothing changes.

        Whoever stops listening leaves it going.
        """
        task, shown, quiet = self._tasks.get(pull.id), None, 0.0
        while pull.state == "running" and task is not None:
            state = pull.as_json()
            if state != shown:
                shown, quiet = state, 0.0
                yield state
            elif quiet >= _SIGN_OF_LIFE:
                quiet = 0.0
                yield None
            await asyncio.wait({task}, timeout=_LOOK)
            quiet += _LOOK
        yield pull.as_json()

    async def wait(self, pull: Pull) -> None:
        """Returns when the pull has ended, however it ended. A caller that is cancelled leaves it going."""
        task = self._tasks.get(pull.id)
        if task is not None:
            await asyncio.wait({task})

    def all(self) -> list[Pull]:
        return list(self._pulls.values())

    def get(self, identity: str) -> Pull:
        pull = self._pulls.get(identity)
        if pull is None:
            raise NotFound(f"There is no pull {identity[:80]!r}.", param="id")
        return pull

    async def cancel(self, identity: str) -> Pull:
        pull = self.get(identity)
        task = self._tasks.get(pull.id)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})
        return pull

    def check(self, model: str) -> None:
        """Raises ModelPulling when that model is on its way, with how far it is."""
        for pull in self._pulls.values():
            if pull.state == "running" and model in (pull.name, pull.reference):
                raise ModelPulling(
                    f"The model {model!r} is not here yet: {pull.job.describe()}. Try again shortly.", retry_after=5.0
                )

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _run(self, pull: Pull) -> None:
        try:
            pull.name = await pull.job.run()
        except StoreError as error:
            pull.state, pull.error = "failed", error
            log("pull failed", level=30, reference=pull.reference, reason=error.message)
        except asyncio.CancelledError:
            pull.state = "cancelled"
            raise
        else:
            pull.state = "done"
            self._installed(pull.name)
        finally:
            self._tasks.pop(pull.id, None)

    def _forget_old(self) -> None:
        ended = [identity for identity, pull in self._pulls.items() if pull.state != "running"]
        for identity in ended[: max(0, len(self._pulls) - _KEPT)]:
            del self._pulls[identity]
