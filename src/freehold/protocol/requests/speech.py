"""POST /v1/audio/speech: every documented parameter, honoured or refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from freehold.protocol.requests.common import NO_BRANCH, Honoured, Refused, Request

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]


def voice_of(value: object) -> object:
    """OpenAI's two forms as one: a name, or an object with one as its `id`."""
    if isinstance(value, dict):
        if value.keys() != {"id"} or not isinstance(value["id"], str):
            raise PydanticCustomError(NO_BRANCH, "|expected a string, or an object with a string `id` and nothing else.")
        return value["id"]
    return value


class SpeechRequest(Request):
    input: Annotated[
        str, Honoured("OpenAI takes 4,096 characters; here it is the setting `speech.characters`, 100,000 by itself")
    ] = Field(min_length=1)
    voice: Annotated[
        str,
        BeforeValidator(voice_of),
        Honoured("one of OpenAI's names, a voice of the model (`GET /v1/audio/voices`), or an object with it as its `id`"),
    ] = Field(min_length=1, max_length=200)
    response_format: Annotated[Format, Honoured("`mp3` without it; all are mono, 24,000 samples a second")] = "mp3"
    speed: Annotated[float, Honoured("at the same pitch")] = Field(1.0, ge=0.25, le=4)
    stream_format: Annotated[
        Literal["audio", "sse"],
        Honoured("`usage` counts the characters of the input, and a token for each twentieth of a second of audio"),
    ] = "audio"
    instructions: Annotated[str | None, Refused("No voice here can be told how to speak; choose another voice.", ("",))] = None
