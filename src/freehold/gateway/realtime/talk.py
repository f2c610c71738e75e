"""One realtime session on its socket: what the machine decides is carried out here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from freehold.errors import FreeholdError, InvalidRequest
from freehold.gateway.audio import for_task
from freehold.gateway.models import find
from freehold.gateway.realtime.ear import Ear
from freehold.gateway.realtime.making import Making
from freehold.gateway.realtime.recording import transcribed
from freehold.gateway.services import Services
from freehold.gateway.websocket import Closed, WebSocket
from freehold.protocol.realtime import beta
from freehold.protocol.realtime.config import Settings, voice_name
from freehold.protocol.realtime.effects import Begin, Effect, Order, Progress, Send, Stop, Transcribe
from freehold.protocol.realtime.events import Misunderstood, understood
from freehold.protocol.realtime.session import Session
from freehold.protocol.voices import Voices
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms
from freehold.store.manifest import Task
from freehold.telemetry import log

_GOING_AWAY = 1001


class Talk:
    """`entry` is the model that answers, None in a session that only transcribes; `model` is what the client calls it; `old`
    says whether the client speaks the API's beta."""

    def __init__(
        self, services: Services, settings: Settings, entry: Entry | None, model: str, caller: str, *, old: bool = False
    ):
        self._old = old
        self._services = services
        self._entry = entry
        duration = services.settings.realtime.duration
        self._deadline = asyncio.get_running_loop().time() + duration
        self._terms = Terms(1, f"{caller} ", "interactive", *([entry.stay] if entry else []))
        self._session = Session(settings, model, int(time.time() + duration), _identity, self._check)
        self._ear = Ear(services, self._terms, self._heard, self._deaf, lambda: self._session.recognising)
        self._making: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # responses and recordings
        self._rest = asyncio.Event()  # no response is being made

    def _check(self, wanted: Settings) -> None:
        """Raises FreeholdError for what cannot be served. Another name of the same model is none."""
        if wanted.model is not None and self._entry is not None:
            found = find(self._services, wanted.model).manifest.name
            if found != self._entry.manifest.name:
                raise InvalidRequest(
                    f"The model of a session stays what it is, {self._entry.manifest.name!r}.",
                    param="session.model",
                    code="invalid_value",
                )
        check(self._services, wanted)

    async def run(self, socket: WebSocket) -> None:
        """Until the client leaves, the session has lasted as long as it may, or the server shuts down."""
        self._socket = socket
        self._rest.set()
        await self._act(self._session.opened())
        tasks = [
            asyncio.create_task(self._read(), name="realtime client"),
            asyncio.create_task(self._ear.run(), name="realtime ear"),
            asyncio.create_task(self._expire(), name="realtime limit"),
            asyncio.create_task(self._drain(), name="realtime drain"),
        ]
        warming = asyncio.create_task(self._warm(), name="realtime warm-up")
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            tasks += [warming, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._ear.close()

    async def _warm(self) -> None:
        """Loads the session's models, so that the first turn need not wait for them. What fails is told when it is used."""
        services, settings = self._services, self._session.settings
        transcription = settings.audio.input.transcription
        wanted: list[tuple[str, Task]] = [
            ((transcription and transcription.model) or services.settings.default_transcription, "transcription")
        ]
        if self._entry is not None:
            await self._load(self._entry)
            if settings.output_modalities == ["audio"]:
                wanted.append((services.settings.default_speech, "speech"))
        for name, task in wanted:
            with contextlib.suppress(FreeholdError):
                await self._load(for_task(services, name, task))

    async def _load(self, entry: Entry) -> None:
        with contextlib.suppress(FreeholdError):
            entry.check()
            await self._services.scheduler.load(entry.deployment, entry.stay)

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            event_id = None
            try:
                event = understood(beta.released(message) if self._old else message)
                event_id = getattr(event, "event_id", None)
                effects = self._session.received(event)
            except Misunderstood as problem:
                effects = [self._session.error(problem.error, problem.event_id)]
            except FreeholdError as error:
                effects = [self._session.error(error, event_id)]
            await self._act(effects)

    async def _expire(self) -> None:
        await asyncio.sleep(self._deadline - asyncio.get_running_loop().time())
        told = FreeholdError("The session has lasted as long as a session may; begin a new one.", code="session_expired")
        await self._act([self._session.error(told)])
        await self._socket.close(_GOING_AWAY, "The session has expired.")

    async def _drain(self) -> None:
        """A server that shuts down lets a response end; who only listens is told at once."""
        await self._services.traffic.turned_away.wait()
        await self._rest.wait()
        await self._socket.close(_GOING_AWAY, "The server is shutting down.")

    async def _act(self, effects: Iterable[Effect]) -> None:
        """Carries out, in order. Raises Closed when the client is gone."""
        for effect in effects:
            match effect:
                case Send(event=event):
                    self._send(event)
                case Begin(order=order):
                    self._begin(order)
                case Stop():
                    self._stop()
                case Transcribe():
                    self._own(self._transcribe(effect), "realtime recording")
                case _:
                    await self._ear.put(effect)
        if not self._session.busy:
            self._rest.set()
        await self._socket.writable()

    def _send(self, event: Mapping[str, Any]) -> None:
        shown = beta.shown(event) if self._old else event
        if shown is not None:
            self._socket.put(json.dumps(shown, separators=(",", ":")).encode())

    # What is heard.

    async def _heard(self, told: Mapping[str, Any]) -> None:
        await self._act(self._session.heard(told))

    async def _deaf(self, error: FreeholdError) -> None:
        log("realtime recogniser failed", level=30, reason=error.code or error.type)
        await self._act(self._session.deaf(error))

    async def _transcribe(self, wanted: Transcribe) -> None:
        where = wanted.item_id, wanted.place
        with contextlib.suppress(Closed):
            try:
                text, seconds = await transcribed(self._services, self._terms, wanted)
            except FreeholdError as error:
                await self._act(self._session.unrecognised(*where, error))
            else:
                await self._act(self._session.recognised(*where, text, seconds))

    # What is said.

    def _begin(self, order: Order) -> None:
        self._rest.clear()
        self._making = self._own(self._make(order), "realtime response")

    def _own(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _stop(self) -> None:
        if self._making is not None:
            self._making.cancel()
            self._making = None

    async def _make(self, order: Order) -> None:
        async def tell(told: Progress) -> None:
            await self._act(self._session.progress(order.response, told))

        assert self._entry is not None  # noqa: S101 - a session without a model makes no responses
        try:
            await Making(self._services, self._entry, self._terms, order, tell).run()
        except Closed:
            pass  # the reader knows it, too
        except FreeholdError as error:
            await self._fail(order, error)
        except Exception:  # noqa: BLE001  (the last resort: a bug must not leave a response that never ends)
            log("unhandled", level=40, exc_info=True, path="realtime")
            await self._fail(order, FreeholdError("The server met an error of its own; its log tells more."))

    async def _fail(self, order: Order, error: FreeholdError) -> None:
        with contextlib.suppress(Closed):
            await self._act(self._session.failed(order.response, error))


def check(services: Services, settings: Settings) -> None:
    """Raises FreeholdError for settings that no model here can serve."""
    transcription = settings.audio.input.transcription
    if transcription is not None and transcription.model is not None:
        for_task(services, transcription.model, "transcription").check()
    if settings.type == "realtime" and settings.output_modalities == ["audio"]:
        speech = for_task(services, services.settings.default_speech, "speech")
        Voices.of(speech.manifest.options).find(voice_name(settings.audio.output.voice))


def _identity(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"
