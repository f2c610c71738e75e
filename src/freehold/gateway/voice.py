"""Hearing and speaking for answers that are made of more than one model: the default models' workers, a lease each time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from freehold.aliases import SPEECH_DEFAULT, TRANSCRIPTION_DEFAULT
from freehold.errors import EngineBadResponse, FreeholdError, InvalidRequest, ModelNotFound
from freehold.fleet.client import Stream
from freehold.fleet.exchange import Upload
from freehold.gateway.models import find
from freehold.gateway.relayed import from_worker
from freehold.gateway.services import Services
from freehold.gateway.upload import multipart
from freehold.protocol.speech import Container, Order
from freehold.protocol.voices import Voices
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms


def listener(services: Services) -> Entry:
    """The model that hears. Raises InvalidRequest when none is installed, ModelPulling while it is on its way."""
    return _default(services, TRANSCRIPTION_DEFAULT, "hear", services.settings.default_transcription)


def speaker(services: Services) -> Entry:
    """The model that speaks. Raises like `listener`."""
    return _default(services, SPEECH_DEFAULT, "speak", services.settings.default_speech)


def voice_of(services: Services, name: str) -> str:
    """The id of that voice of the model that speaks. Raises InvalidRequest, naming `audio.voice`, when it has none such."""
    try:
        return Voices.of(speaker(services).manifest.options).find(name).id
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param="audio.voice", code=error.code) from None


async def heard(services: Services, data: bytes, param: str, terms: Terms) -> str:
    """What a recording says. Raises InvalidRequest, naming `param`, for what cannot be decoded."""
    entry = listener(services)
    body = multipart([("model", entry.manifest.name)], [("file", "", [data])])
    path, names = "/v1/audio/transcriptions", {"file": param}
    async with _asked(services, entry, path, body, terms=terms, names=names) as stream:
        answer = await stream.read_all()
    try:
        text = json.loads(answer)["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise EngineBadResponse("The model that hears sent something that is no transcript.")
    return text


async def spoken(services: Services, text: str, voice: str, kind: Container, terms: Terms) -> AsyncGenerator[bytes, None]:
    """The text as sound, in pieces as they come; `kind` is a format of OpenAI's speech endpoint, `voice` a voice's id."""
    order = Order(input=text, voice=voice, response_format=kind)
    body = order.model_dump_json(exclude_defaults=True).encode()
    names = {"voice": "audio.voice", "input": "messages"}
    async with _asked(services, speaker(services), "/v1/audio/speech", body, terms=terms, names=names) as stream:
        while piece := await stream.read():
            yield piece


@asynccontextmanager
async def _asked(
    services: Services, entry: Entry, path: str, body: bytes | Upload, *, terms: Terms, names: dict[str, str]
) -> AsyncIterator[Stream]:
    """A worker's answer, open; what it complains of is said of the fields in `names`."""
    timeouts = services.settings.timeouts
    async with (
        services.scheduler.lease(entry.deployment, replace(terms, need=1, stay=entry.stay)) as lease,
        lease.client.stream(path, body, timeouts.first_token, timeouts.idle) as stream,
    ):
        if stream.status != 200:
            raise _renamed(from_worker(stream.status, await stream.read_all()), names)
        yield stream


def _renamed(error: FreeholdError, names: dict[str, str]) -> FreeholdError:
    if error.param is not None:
        error.param = names.get(error.param)
    return error


def _default(services: Services, name: str, does: str, model: str) -> Entry:
    try:
        entry = find(services, name)
    except ModelNotFound:
        raise InvalidRequest(
            f"No model that can {does} is installed: freehold pull {model or 'NAME'}",
            param="messages",
            code="unsupported_content",
        ) from None
    entry.check()
    return entry
