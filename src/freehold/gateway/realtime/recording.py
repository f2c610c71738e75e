"""Recordings that come within items: each is a file for the recogniser, beside the live line."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace

from freehold.errors import EngineBadResponse
from freehold.fleet.client import EngineClient
from freehold.fleet.exchange import Upload
from freehold.gateway.audio import for_task
from freehold.gateway.relayed import from_worker
from freehold.gateway.retry import Retry
from freehold.gateway.services import Services
from freehold.gateway.upload import multipart
from freehold.protocol.realtime.effects import Transcribe
from freehold.routing.scheduler import Terms

_WAV = {"pcm16": (1, 16), "g711_alaw": (6, 8), "g711_ulaw": (7, 8)}  # format tag and bits of a sample: RFC 2361


async def transcribed(services: Services, terms: Terms, wanted: Transcribe) -> tuple[str, float]:
    """(what is said in it, its seconds). Raises FreeholdError."""
    entry = for_task(services, wanted.model or services.settings.default_transcription, "transcription")
    entry.check()
    timeouts, body = services.settings.timeouts, _form(wanted)

    async def attempt(client: EngineClient) -> str:
        async with client.stream("/v1/audio/transcriptions", body, timeouts.first_token, timeouts.idle) as stream:
            answer = await stream.read_all()
            if stream.status != 200:
                raise from_worker(stream.status, answer)
            return _text(answer)

    async with services.scheduler.lease(entry.deployment, replace(terms, stay=entry.stay)) as lease:
        retry = Retry(services.supervisor, services.suspects, services.telemetry, services.settings.queue.timeout)
        text = await retry.run(lease.client, entry.deployment, (body.digest,), attempt, lambda death: True)
    _, bits = _WAV[wanted.settings["format"]]
    return text, len(wanted.audio) * 8 / bits / wanted.settings["rate"]


def _form(wanted: Transcribe) -> Upload:
    fields = [("model", "recogniser"), ("response_format", "json")]
    if language := wanted.settings["language"]:
        fields.append(("language", language))
    sound = ("file", "audio/wav", [_wav_head(wanted), wanted.audio])
    return multipart(fields, [sound], hashlib.sha256(wanted.audio).digest())


def _wav_head(wanted: Transcribe) -> bytes:
    tag, bits = _WAV[wanted.settings["format"]]
    rate, size = wanted.settings["rate"], len(wanted.audio)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, 1, rate, rate * bits // 8, bits // 8, bits)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def _text(answer: bytes) -> str:
    try:
        text = json.loads(answer)["text"]
    except (ValueError, RecursionError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise EngineBadResponse("The model's worker sent something that is no transcript.")
    return text
