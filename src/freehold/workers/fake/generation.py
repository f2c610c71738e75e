"""How one answer goes, token by token, and how it goes wrong."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from freehold.workers.fake import shapes
from freehold.workers.fake.http import JSON, Connection, Reply
from freehold.workers.fake.options import Faults

_GARBAGE = b'data: {"choices":[{"delta":\xff\xfe<\n\n'
_NOT_HTTP = b"\xff\xfenot HTTP\r\n"
_HTML = b"<html><body><h1>Internal Server Error</h1></body></html>"


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Stats:
    """GET /fake/stats. `active` generations hold a slot, `waiting` ones wait for one. Tokens are counted when made."""

    requests: Counter[str] = field(default_factory=Counter)
    active: int = 0
    peak_active: int = 0
    waiting: int = 0
    disconnects: int = 0
    tokens: int = 0
    tokens_after_disconnect: int = 0
    turning: asyncio.Event = field(default_factory=_set_event)  # whether the main loop does

    ballast: list[bytes] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in {"turning", "ballast"}}


class Answer(Protocol):
    """What is to be said. `steps` is its number of tokens; an answer of none cannot be streamed."""

    @property
    def steps(self) -> int: ...
    def whole(self) -> bytes: ...
    def opening(self) -> Sequence[bytes]: ...
    def step(self, number: int) -> bytes: ...
    def closing(self) -> Sequence[bytes]: ...


class _Over(Exception):
    """A fault ends the answer here; `reply` is what is still to be written, if anything."""

    def __init__(self, reply: Reply | None = None):
        self.reply = reply


class Generation:
    """One answer on one connection, with the faults asked for."""

    def __init__(self, faults: Faults, connection: Connection, stats: Stats):
        self._faults = faults
        self._connection = connection
        self._stats = stats
        self._streaming = False

    async def run(self, answer: Answer, *, streamed: bool) -> Reply | None:
        """The reply, or None when everything that shall be written has been."""
        try:
            await self._prelude()
            return await (self._stream(answer) if streamed else self._collect(answer))
        except _Over as over:
            return over.reply

    async def _prelude(self) -> None:
        """What happens before the first token."""
        faults = self._faults
        if faults.freeze_s:
            time.sleep(faults.freeze_s)  # noqa: ASYNC251 - the point is that nothing else runs
        if faults.grow_mib:
            self._stats.ballast.append(b"x" * (faults.grow_mib << 20))
        await self._main_loop()
        if faults.status is not None:
            body = {"html": _HTML, "empty": b""}.get(faults.body, shapes.error({**shapes.ERROR, "code": faults.status}))
            raise _Over(Reply(body, faults.status, "text/html" if faults.body == "html" else JSON))
        if faults.headers_then_hang:
            self._connection.begin()
        if faults.hang or faults.headers_then_hang:
            await asyncio.Event().wait()
        await asyncio.sleep(faults.first_token_delay_s)

    async def _main_loop(self) -> None:
        """What the main loop does for this request before it turns again, if it ever does."""
        faults, turning = self._faults, self._stats.turning
        if faults.spin or faults.deadlock or faults.busy_s:
            turning.clear()
        if faults.spin:
            threading.Thread(target=_compute, args=(float("inf"),), name="main-loop", daemon=True).start()
        elif faults.busy_s:
            await asyncio.to_thread(_compute, faults.busy_s)
            turning.set()
        await turning.wait()

    async def _stream(self, answer: Answer) -> None:
        connection = self._connection
        await self._stumble(0)
        connection.begin()
        self._streaming = True
        for data in answer.opening():
            connection.chunk(data)
        for number in range(answer.steps):
            connection.chunk(answer.step(number))
            await self._made_one()
            await self._stumble(number + 1)
        for data in answer.closing():
            connection.chunk(data)
        connection.end()

    async def _collect(self, answer: Answer) -> Reply:
        body = answer.whole()
        for number in range(answer.steps + 1):
            if number:
                await self._made_one()
            if number == self._faults.garbage_at_token:
                body = _GARBAGE
            elif number == self._faults.close_at_token:
                self._connection.write(self._connection.head(200, JSON, len(body)) + body[: len(body) // 2])
            await self._stumble(number)
        return Reply(body)

    async def _made_one(self) -> None:
        """Accounts for a token, and takes the time it takes."""
        self._stats.tokens += 1
        self._stats.tokens_after_disconnect += self._connection.gone
        if self._faults.token_delay_s:
            await asyncio.sleep(self._faults.token_delay_s)
        await self._connection.flushed()
        await self._stats.turning.wait()

    async def _stumble(self, number: int) -> None:
        """Commits the fault that is due after `number` tokens."""
        faults, connection = self._faults, self._connection
        match number:
            case faults.die_at_token:
                await connection.sent()
                os._exit(9)
            case faults.close_at_token:
                connection.close()
                raise _Over
            case faults.bad_framing_at_token:
                connection.write(_NOT_HTTP)
                connection.close()
                raise _Over
            case faults.error_at_token if self._streaming:
                connection.chunk(shapes.event({"error": shapes.ERROR}))
                connection.end()
                raise _Over
            case faults.error_at_token:  # llama.cpp answers with a status while it still can
                raise _Over(Reply(shapes.error(shapes.ERROR), 500))
            case faults.garbage_at_token if self._streaming:
                connection.chunk(_GARBAGE)


def _compute(seconds: float) -> None:
    """Spends that much processor time."""
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
