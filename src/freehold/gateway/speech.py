"""Speech: text to audio, and the voices there are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from freehold.aliases import SPEECH_DEFAULT
from freehold.errors import InvalidRequest
from freehold.gateway.asked import ignored, terms_of
from freehold.gateway.http import Json, read_json_body
from freehold.gateway.models import find
from freehold.gateway.relayed import Call, RelayedAnswer
from freehold.gateway.services import Services
from freehold.protocol.elevenlabs import TextToSpeech, check_language, elevenlabs_card, model_of, order_of
from freehold.protocol.requests.common import parse
from freehold.protocol.requests.speech import SpeechRequest
from freehold.protocol.speech import Order
from freehold.protocol.voices import Voices, check_script, check_words
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms

_PATH = "/v1/audio/speech"


async def speech(services: Services, request: Request) -> Response:
    raw = await read_json_body(request, services.settings.max_body_bytes)
    parsed = parse(SpeechRequest, raw, unknown=services.settings.unknown_parameters)
    entry = speaker(services, request, parsed.value.model)
    value = parsed.value
    order = Order(
        input=value.input,
        voice=value.voice,
        response_format=value.response_format,
        speed=value.speed,
        stream_format=value.stream_format,
    )
    return await spoken(services, entry, order, terms_of(request, value, entry), ignored(parsed.ignored))


async def text_to_speech(services: Services, request: Request) -> Response:
    """ElevenLabs' endpoint, streamed or not: the audio always comes as it is made."""
    raw = await read_json_body(request, services.settings.max_body_bytes)
    parsed = parse(TextToSpeech, raw, unknown=services.settings.unknown_parameters)
    value = parsed.value
    order = order_of(value, request.path_params["voice"], request.query_params.get("output_format"))
    entry = speaker(services, request, model_of(value, SPEECH_DEFAULT))
    check_language(value, Voices.of(entry.manifest.options).find(order.voice))
    terms = Terms(1, request.client.host if request.client else "", "interactive", entry.stay)
    return await spoken(services, entry, order, terms, ignored((*value.without_effect, *parsed.ignored)))


async def elevenlabs_voices(services: Services, request: Request) -> Response:
    """The voices of the default speech model, as ElevenLabs' clients list them before they speak."""
    entry = find(services, SPEECH_DEFAULT)
    voices = Voices.of(entry.manifest.options)
    return Json({"voices": [elevenlabs_card(voice) for voice in voices.all]})


def speaker(services: Services, request: Request, name: str) -> Entry:
    """The speech model of that name. Raises InvalidRequest for one of another kind."""
    entry = find(services, name)
    request.scope["freehold.model"] = entry.manifest.name
    entry.check()
    if entry.manifest.task != "speech":
        raise InvalidRequest(
            f"The model {entry.manifest.name!r} does not speak; choose a speech model, such as tts-1.",
            param="model",
            code="invalid_value",
        )
    return entry


async def spoken(
    services: Services, entry: Entry, order: Order, terms: Terms, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to an order whose model is known. Raises InvalidRequest for a text that cannot be spoken with its voice."""
    voices = Voices.of(entry.manifest.options)
    _check_length(order.input, services.settings.speech.characters)
    voice = voices.find(order.voice)
    await asyncio.to_thread(_check_text, order, voices)
    body = order.model_copy(update={"voice": voice.id}).model_dump_json(exclude_defaults=True).encode()
    return RelayedAnswer(services, entry, Call(_PATH, body, headers or {}), terms, contextlib.ExitStack())


def _check_length(text: str, most: int) -> None:
    if len(text) > most:
        raise InvalidRequest(
            f"Invalid 'input': string too long. Expected at most {most} characters (setting `speech.characters`), "
            f"but got {len(text)} instead.",
            param="input",
            code="string_above_max_length",
        )


def _check_text(order: Order, voices: Voices) -> None:
    check_words(order.input)
    check_script(order.input, voices.find(order.voice), voices.all)


async def list_voices(services: Services, request: Request) -> Response:
    """The voices of all installed speech models. `variants` are, by model, what may follow a voice's name behind a plus."""
    cards: list[dict[str, Any]] = []
    variants: dict[str, list[str]] = {}
    for entry in await asyncio.to_thread(lambda: list(services.catalog.entries())):
        if entry.manifest.task == "speech":
            voices = Voices.of(entry.manifest.options)
            cards += [card(entry.manifest.name, voices, voice.id) for voice in voices.all]
            if voices.variants:
                variants[entry.manifest.name] = list(voices.variants)
    return Json({"object": "list", "data": cards, "variants": variants})


def card(model: str, voices: Voices, name: str) -> dict[str, Any]:
    """A voice, described."""
    voice = voices.find(name)
    known = {"language": voice.language, "name": voice.name, "gender": voice.gender}
    return {
        "id": voice.id,
        "object": "audio.voice",
        "model": model,
        **{key: text or None for key, text in known.items()},
        "aliases": [*voice.also, *voices.openai_names(voice)],
    }
