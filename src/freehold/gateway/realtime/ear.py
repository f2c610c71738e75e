"""The ear of a session: a line to the recogniser, open while something is said, and a lease of it while it works."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from freehold.errors import EngineBadResponse, EngineTimeout, FreeholdError, InvalidRequest
from freehold.fleet.live import Line
from freehold.gateway.audio import for_task
from freehold.gateway.services import Services
from freehold.protocol.realtime.effects import EndTurn, Forget, Hear, Listen
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms

_PATH = "/v1/realtime?intent=transcription"
_IDLE = 15.0  # seconds without audio after which the line is given back
_PAUSE = 1.0  # seconds after a failure in which what is said is not heard
_TIMES = ("audio_start_ms", "audio_end_ms")  # of what the recogniser tells
_OVER = ("completed", "cleared", "session.updated")  # what is told when a turn is no longer spoken nor recognised
_MOST_HELD = 4 * 2**20  # bytes of audio that wait for the recogniser before the client is made to wait

Order = Listen | Hear | EndTurn | Forget


class Ear:
    """`put` is for one caller. `told` gets what the recogniser tells, `failed` why nothing is heard; `waits` says whether
    something heard is not recognised yet."""

    def __init__(
        self,
        services: Services,
        terms: Terms,
        told: Callable[[Mapping[str, Any]], Awaitable[None]],
        failed: Callable[[FreeholdError], Awaitable[None]],
        waits: Callable[[], bool],
    ):
        self._services = services
        self._terms = terms
        self._told = told
        self._failed = failed
        self._waits = waits
        self._orders: asyncio.Queue[Order] = asyncio.Queue()
        self._held = 0
        self._room = asyncio.Event()
        self._settings: Listen | None = None
        self._again_at = 0.0
        self._heard_ms = 0.0  # of audio since the session began
        self._before_ms = 0  # of it before the line was opened, which counts from its own beginning
        self._turns = 0  # that are spoken or recognised
        self._waiting = 0  # orders that forget what was said, and which the recogniser was not told yet
        self._asked = 0  # those that it was told, and has not carried out yet
        self._greeted = False  # whether it has answered what a line begins with
        self._lost = set[int]()  # where turns ended that were forgotten by then, and are recognised all the same
        self._working: asyncio.Task[None] | None = None

    async def put(self, order: Order) -> None:
        """Waits while the recogniser is far behind."""
        self._waiting += isinstance(order, Forget | Listen)
        while self._held >= _MOST_HELD:
            self._room.clear()
            await self._room.wait()
        self._held += len(order.audio) if isinstance(order, Hear) else 0
        self._orders.put_nowait(order)

    async def run(self) -> None:
        """Hears for as long as the session lasts."""
        while True:
            order = await self._take()
            if isinstance(order, Listen):
                self._settings = order
            elif not isinstance(order, Forget) and not self._pausing(order):
                await self._attempt(order)

    async def _take(self) -> Order:
        order = await self._orders.get()
        self._waiting -= isinstance(order, Forget | Listen)
        if isinstance(order, Hear):
            self._held -= len(order.audio)
            self._heard_ms += len(order.audio) / self._bytes_a_ms
            self._room.set()
        return order

    @property
    def _bytes_a_ms(self) -> float:
        told = self._settings.settings if self._settings else {}
        rate: int = told.get("rate", 24_000)
        return rate * (2 if told.get("format", "pcm16") == "pcm16" else 1) / 1000

    def _pausing(self, order: Order) -> bool:
        return isinstance(order, Hear) and asyncio.get_running_loop().time() < self._again_at

    async def _attempt(self, order: Order) -> None:
        try:
            await self._hear(order)
        except FreeholdError as error:
            self._again_at = asyncio.get_running_loop().time() + _PAUSE
            await self._failed(error)
        finally:
            self._rest()

    async def _hear(self, first: Order) -> None:
        """One line, from the first order for it until nothing has been said for a while. Raises why it broke."""
        own = len(first.audio) / self._bytes_a_ms if isinstance(first, Hear) else 0
        self._before_ms = round(self._heard_ms - own)
        async with self._line() as line:
            listening = asyncio.create_task(self._listen(line), name="realtime recogniser")
            speaking = asyncio.create_task(self._speak(line, first), name="realtime microphone")
            try:
                await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
                for task in (listening, speaking):
                    if task.done():
                        task.result()
            finally:
                for task in (listening, speaking):
                    task.cancel()
                await asyncio.gather(listening, speaking, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _line(self) -> AsyncIterator[Line]:
        """The model is loaded for it, but no slot is taken: who only listens keeps nobody waiting."""
        services = self._services
        entry = self._entry()
        within = services.settings.queue.timeout
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(within):
                    lease = await held.enter_async_context(
                        services.scheduler.lease(entry.deployment, replace(self._terms, need=0, stay=entry.stay))
                    )
            except TimeoutError:
                raise EngineTimeout(f"The recogniser was not there after {within:g} s; audio until now is lost.") from None
            line = await held.enter_async_context(lease.client.line(_PATH, within))
            self._asked, self._greeted = 0, False
            self._lost.clear()
            await line.tell(self._session())
            yield line

    def _entry(self) -> Entry:
        services = self._services
        name = (self._settings and self._settings.model) or services.settings.default_transcription
        entry = for_task(services, name, "transcription")
        entry.check()
        return entry

    def _session(self) -> str:
        return json.dumps({"type": "session.update", "session": self._settings.settings if self._settings else {}})

    async def _speak(self, line: Line, order: Order | None) -> None:
        """Passes on what is said. Returns when nothing was said for a while, or another model is to hear it."""
        while True:
            match order:
                case Hear(audio=audio):
                    await line.send(audio)
                case EndTurn():
                    self._work()
                    await line.tell('{"type":"commit"}')
                case Forget():
                    await self._restart(line, '{"type":"clear"}')
                case Listen():
                    before, self._settings = self._settings, order
                    if before is None or before.model != order.model:
                        return
                    await self._restart(line, self._session())
            try:
                async with asyncio.timeout(_IDLE):
                    order = await self._take()
            except TimeoutError:
                if not self._waits():
                    return
                order = None
                self._rest()  # somebody who stopped in the middle of speech

    async def _restart(self, line: Line, told: str) -> None:
        self._asked += 1
        await line.tell(told)

    async def _listen(self, line: Line) -> None:
        while True:
            try:
                told = json.loads(await line.receive())
            except (ValueError, RecursionError):
                told = None
            if self._is_of_what_is_forgotten(told):
                continue
            match told:
                case {"type": "speech_started"}:
                    self._work()
                case {"type": "completed"}:
                    self._worked()
                case {"type": "error"}:
                    raise _refused(told)
                case {"type": str()}:
                    pass
                case _:
                    raise EngineBadResponse("The model's worker sent something that is not an event.")
            times = {name: told[name] + self._before_ms for name in _TIMES if isinstance(told.get(name), int)}
            await self._told({**told, **times})
            if told["type"] in _OVER and not self._waits():
                self._rest()  # a turn may have been forgotten, or ended before its end was heard

    def _is_of_what_is_forgotten(self, told: object) -> bool:
        """Keeps count of what is forgotten. A turn that ended before that was carried out is recognised, and told to nobody."""
        stale = self._waiting + self._asked > 0
        match told:
            case {"type": "session.updated" | "cleared"}:
                self._asked, self._greeted = self._asked - self._greeted, True
            case {"type": "speech_started"}:
                return stale
            case {"type": "delta"}:
                return stale or bool(self._lost)
            case {"type": "speech_stopped", "audio_end_ms": int(end), **more} if stale and "committed" not in more:
                self._lost.add(end)
                return True
            case {"type": "completed", "audio_end_ms": int(end)} if end in self._lost:
                self._lost.discard(end)
                self._worked()
                return True
        return False

    # The lease. It is no gate, for the worker has its own; it keeps the model in memory, and counts it as used.

    def _work(self) -> None:
        self._turns += 1
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._hold(), name="realtime lease")

    def _worked(self) -> None:
        self._turns -= 1
        if self._turns <= 0:
            self._rest()

    def _rest(self) -> None:
        self._turns = 0
        if self._working is not None:
            self._working.cancel()
            self._working = None

    async def _hold(self) -> None:
        with contextlib.suppress(FreeholdError):  # a queue that is full: the model is in use all the more
            entry = self._entry()
            async with self._services.scheduler.lease(entry.deployment, replace(self._terms, stay=entry.stay)):
                await asyncio.Event().wait()

    async def close(self) -> None:
        working = self._working
        self._rest()
        if working is not None:
            await asyncio.gather(working, return_exceptions=True)


def _refused(told: Mapping[str, Any]) -> FreeholdError:
    message, code = told.get("message"), told.get("code")
    if not isinstance(message, str) or not isinstance(code, str | None):
        return EngineBadResponse("The model's worker met an error and could not hear.")
    return InvalidRequest(message[:1000], param="session.audio.input", code=code)
