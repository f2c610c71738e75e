"""ElevenLabs' text-to-speech in OpenAI's terms: a thin dialect, for the clients that know no other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, cast

from pydantic import Field

from freehold.errors import FreeholdError, InvalidRequest
from freehold.protocol.requests.common import Part
from freehold.protocol.speech import Container, Order
from freehold.protocol.voices import Voice

_USUAL = "mp3_44100_128"
_RATES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "mp3": (22_050, 24_000, 44_100),
        "opus": (48_000,),
        "pcm": (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
        "wav": (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
        "ulaw": (8_000,),
        "alaw": (8_000,),
    }
)
_BIT_RATES = (32, 48, 64, 96, 128, 192)  # kbit/s
_FORMAT = re.compile(r"(mp3|opus|pcm|wav|ulaw|alaw)_(\d{4,5})(?:_(\d{2,3}))?")


class VoiceSettings(Part):
    """Only the speed has a meaning for the voices here; the others tune models of ElevenLabs'."""

    speed: float = Field(1.0, ge=0.25, le=4)
    stability: float | None = None
    similarity_boost: float | None = None
    style: float | None = None
    use_speaker_boost: bool | None = None


class TextToSpeech(Part):
    """The body of POST /v1/text-to-speech/{voice}. Fields without effect are told in `x-freehold-ignored`."""

    text: str = Field(min_length=1)
    model_id: str = Field("eleven_multilingual_v2", min_length=1, max_length=300)
    language_code: str | None = Field(None, max_length=20)
    voice_settings: VoiceSettings | None = None
    apply_text_normalization: Literal["auto", "on"] | None = None
    pronunciation_dictionary_locators: list[Any] | None = Field(None, max_length=0)
    seed: int | None = None
    previous_text: str | None = None
    next_text: str | None = None
    previous_request_ids: list[str] | None = None
    next_request_ids: list[str] | None = None
    use_pvc_as_ivc: bool | None = None
    apply_language_text_normalization: bool | None = None

    @property
    def without_effect(self) -> tuple[str, ...]:
        """The fields that were given, and change nothing here."""
        own = self.model_fields_set - _EFFECTIVE
        settings = self.voice_settings.model_fields_set - {"speed"} if self.voice_settings else set()
        return tuple(sorted({*own, *(f"voice_settings.{name}" for name in settings)}))


_EFFECTIVE = {
    *("text", "model_id", "language_code", "voice_settings"),
    *("apply_text_normalization", "pronunciation_dictionary_locators"),
}


def order_of(value: TextToSpeech, voice: str, output_format: str | None) -> Order:
    """What a worker is asked. Raises InvalidRequest for a format that cannot be made."""
    found = _FORMAT.fullmatch(output_format or _USUAL)
    kind, rate, bits = found.groups() if found else ("", "0", None)
    fits = (
        kind in _RATES and int(rate) in _RATES[kind] and (bits is None or (kind in ("mp3", "opus") and int(bits) in _BIT_RATES))
    )
    if not fits:
        raise InvalidRequest(
            f"The output_format {str(output_format)[:80]!r} cannot be made; there are mp3_44100_128, mp3_22050_32, "
            "opus_48000_64, pcm_16000, pcm_24000, wav_44100, ulaw_8000 and the like.",
            param="output_format",
            code="invalid_output_format",
        )
    return Order(
        input=value.text,
        voice=voice,
        response_format=cast(Container, kind),
        speed=value.voice_settings.speed if value.voice_settings else 1.0,
        sample_rate=int(rate),
        bit_rate=1000 * int(bits or 0),
    )


def elevenlabs_card(voice: Voice) -> dict[str, Any]:
    """A voice as ElevenLabs describes one."""
    labels = {"language": voice.language, "gender": voice.gender}
    return {"voice_id": voice.id, "name": voice.name or voice.id, "category": "premade", "labels": labels}


def check_language(value: TextToSpeech, voice: Voice) -> None:
    """Raises InvalidRequest when a text is said to be of another language than the voice."""
    asked = (value.language_code or "").lower().partition("-")[0]
    if asked and voice.language and asked != voice.language.partition("-")[0]:
        raise InvalidRequest(
            f"The voice {voice.id!r} speaks {voice.language}, not {asked[:20]!r}; choose one of that language.",
            param="language_code",
            code="invalid_value",
        )


def model_of(value: TextToSpeech, default: str) -> str:
    """The model that is meant: ElevenLabs' own names stand for the default one."""
    return default if value.model_id.startswith("eleven_") else value.model_id


def envelope(error: FreeholdError, identity: str) -> dict[str, Any]:
    """ElevenLabs' error body."""
    detail = {"status": error.code or error.type, "message": error.sentence, "request_id": identity}
    return {"detail": detail | ({"param": error.param} if error.param else {})}
