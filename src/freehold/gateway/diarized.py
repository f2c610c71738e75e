"""Transcripts that say who speaks: one model tells who speaks when, another what is said."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.errors import EngineBadResponse, InvalidRequest
from freehold.fleet.client import EngineClient
from freehold.gateway.http import ClientGone, UntilGone
from freehold.gateway.relayed import Call, RelayedAnswer, from_worker
from freehold.gateway.retry import Retry
from freehold.gateway.services import Services
from freehold.gateway.upload import FilePart, Form
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms

PATIENCE = 86_400.0  # seconds: the answer to hours of audio may take hours; a worker that hangs is found by its heartbeat
_PATH = "/v1/audio/turns"


@dataclass(frozen=True)
class Diarization:
    """What is asked: which model tells who speaks when; the form, its file and its fields, for which path. `headers` are added
    to the answer."""

    diariser: Entry
    form: Form
    file: FilePart
    fields: Sequence[tuple[str, str]]
    path: str
    headers: Mapping[str, str]

    @property
    def known(self) -> list[tuple[str, str]]:
        """The fields that are about known speakers."""
        return [(f"{name.partition('[')[0]}[]", value) for name, value in self.fields if _of_speakers(name)]

    @property
    def others(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.fields if not _of_speakers(name)]


async def diariser(services: Services, recogniser: Entry) -> Entry:
    """The model that tells speakers apart; of several, the first by name. Raises InvalidRequest when there is none, or when the
    recogniser is elsewhere."""
    if recogniser.deployment.remote is not None:
        raise InvalidRequest(
            f"The model {recogniser.manifest.name!r} runs elsewhere, so it cannot be told who speaks when.",
            param="response_format",
            code="unsupported_value",
        )
    entries = await asyncio.to_thread(lambda: list(services.catalog.entries()))
    found = sorted((entry for entry in entries if entry.manifest.task == "diarization"), key=lambda entry: entry.manifest.name)
    if not found:
        raise InvalidRequest(
            "No model that tells speakers apart is installed. Pull a folder with one: freehold pull ./FOLDER "
            "(docs/transcription.md says what is in it).",
            param="response_format",
            code="unsupported_value",
        )
    found[0].check()
    return found[0]


class DiarizedAnswer(Response):
    """The recogniser's answer, once it is known who speaks when. `held` is closed after it."""

    def __init__(self, services: Services, recogniser: Entry, asked: Diarization, terms: Terms, held: contextlib.ExitStack):
        super().__init__()
        self._services = services
        self._recogniser = recogniser
        self._asked = asked
        self._terms = terms
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = self._asked
        with contextlib.ExitStack() as unless:
            unless.callback(self._held.close)
            try:
                async with UntilGone(receive):
                    turns = await self._turns()
            except ClientGone:
                return
            unless.pop_all()
        body = asked.form.upload([*asked.others, ("turns", turns)], [asked.file])
        call = Call(asked.path, body, asked.headers, first=PATIENCE)
        await RelayedAnswer(self._services, self._recogniser, call, self._terms, self._held)(scope, receive, send)

    async def _turns(self) -> str:
        """Who speaks when, as the recogniser is told it. Raises FreeholdError."""
        services, asked, entry = self._services, self._asked, self._asked.diariser
        body = asked.form.upload(asked.known, [asked.file])

        async def attempt(client: EngineClient) -> str:
            async with client.stream(_PATH, body, PATIENCE, services.settings.timeouts.idle) as stream:
                answer = await stream.read_all()
                if stream.status != 200:
                    raise from_worker(stream.status, answer)
                return _told(answer)

        async with services.scheduler.lease(entry.deployment, replace(self._terms, stay=entry.stay)) as lease:
            services.telemetry.queue_wait.labels(entry.manifest.name).observe(lease.waited)
            retry = Retry(services.supervisor, services.suspects, services.telemetry, services.settings.queue.timeout)
            return await retry.run(lease.client, entry.deployment, (body.digest,), attempt, lambda death: True)


def _told(answer: bytes) -> str:
    try:
        turns = json.loads(answer)["turns"]
    except (ValueError, RecursionError, KeyError, TypeError):
        turns = None
    if not isinstance(turns, list):
        raise EngineBadResponse("The model that tells speakers apart sent something that are no turns.")
    return json.dumps(turns)


def _of_speakers(name: str) -> bool:
    return name.startswith(("known_speaker_names", "known_speaker_references"))
