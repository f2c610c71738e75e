"""Responses that are made while nobody waits for them: each a task of the server, with all its events for who asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Scope

from freehold.errors import FreeholdError, NotFound
from freehold.gateway.middleware import Traffic
from freehold.protocol.framing import NAMED_EVENTS
from freehold.protocol.responses.resource import error_of
from freehold.state.keeper import State
from freehold.telemetry import log

_KEPT = 600.0  # seconds that the events of a finished response can still be asked for
_MOST = 64  # finished responses whose events are kept


class Run:
    """One response. `frames` are its events as they are sent: the place of each is its sequence number."""

    def __init__(self, owner: str, identity: str, answer: ASGIApp):
        self.owner = owner
        self.identity = identity
        self.answer = answer
        self.frames: list[bytes] = []
        self.ended: float | None = None
        self._news = asyncio.Event()

    @property
    def done(self) -> bool:
        return self.ended is not None

    async def more(self) -> None:
        """Waits until there are more frames, or no more will come."""
        await self._news.wait()

    def add(self, frames: bytes) -> None:
        self.frames += [frame + b"\n\n" for frame in frames.split(b"\n\n") if frame]
        self._tell()

    def end(self) -> None:
        self.ended = time.monotonic()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Background:
    """Owns the tasks of all runs. They count as traffic: a server that stops gives them the time that requests get."""

    def __init__(self, state: State, traffic: Traffic):
        self._state = state
        self._traffic = traffic
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sweeping = asyncio.create_task(state.sweep(), name="sweeping")

    def begin(self, owner: str, identity: str, scope: Scope, answer: ASGIApp) -> Run:
        """Starts what was stored as queued."""
        self._forget()
        run = self._runs[identity] = Run(owner, identity, answer)
        self._tasks[identity] = asyncio.create_task(self._carry(run, scope), name=f"background {identity}")
        return run

    def find(self, owner: str, identity: str) -> Run:
        """Raises NotFound where its events are no longer here."""
        run = self._runs.get(identity)
        if run is None or run.owner != owner:
            raise NotFound("The events of this response are not here any more; retrieve it without 'stream'.", param="stream")
        return run

    async def cancel(self, identity: str) -> None:
        """Ends a run, where it still runs."""
        task = self._tasks.get(identity)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def drop(self, identity: str) -> None:
        """Ends a run and forgets its events, for who deletes its response."""
        await self.cancel(identity)
        self._runs.pop(identity, None)

    async def close(self) -> None:
        self._sweeping.cancel()
        for identity in list(self._tasks):
            await self.cancel(identity)

    async def _carry(self, run: Run, scope: Scope) -> None:
        self._traffic.enter()
        try:
            await run.answer(scope, _silent, self._recorder(run))
        except asyncio.CancelledError:
            run.add(_error(run, "cancelled", "The response was cancelled."))
            raise
        except FreeholdError as error:
            await self._fail(run, error_of(error))
        except Exception as error:  # noqa: BLE001 - a bug: nobody waits for this task, so it is told where it is looked for
            log("bug in a background response", level=40, error=repr(error)[:500])
            await self._fail(run, {"code": "server_error", "message": "The server met an error of its own."})
        else:
            await self._settled(run)
        finally:
            run.end()
            self._tasks.pop(run.identity, None)
            self._traffic.leave()

    def _recorder(self, run: Run):  # type: ignore[no-untyped-def]
        async def send(message: Message) -> None:
            if body := message.get("body"):
                if not run.frames:
                    await self._state.run(lambda db, c: db.responses.begin(c, run.identity))
                run.add(body)

        return send

    async def _settled(self, run: Run) -> None:
        """An answer that failed after its first event has told so there; it is stored here."""
        response = getattr(run.answer, "response", None)
        if response is not None and response["status"] == "failed":
            await self._end(run, {"status": "failed", "error": response["error"]})

    async def _fail(self, run: Run, error: Mapping[str, Any]) -> None:
        run.add(_error(run, error["code"], error["message"]))
        await self._end(run, {"status": "failed", "error": error})

    async def _end(self, run: Run, ending: Mapping[str, Any]) -> None:
        try:
            await self._state.run(lambda db, c: db.responses.end(c, run.owner, run.identity, ending))
        except FreeholdError as error:  # deleted meanwhile, or no database: the next start will find it unfinished
            log("a background response's end is not stored", level=30, reason=error.message)

    def _forget(self) -> None:
        finished = sorted((run for run in self._runs.values() if run.ended is not None), key=lambda run: run.ended or 0)
        now = time.monotonic()
        for place, run in enumerate(finished):
            if now - (run.ended or 0) > _KEPT or place < len(finished) - _MOST:
                del self._runs[run.identity]


async def _silent() -> Message:
    """What a client that never leaves sends."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


def _error(run: Run, code: str, message: str) -> bytes:
    return NAMED_EVENTS.encode(
        {"type": "error", "sequence_number": len(run.frames), "code": code, "message": message, "param": None}
    )
