"""What a speech worker is told: one text, one voice of its model, and the format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Container = Literal["mp3", "opus", "aac", "flac", "wav", "pcm", "ulaw", "alaw"]
RATE = 24_000  # samples a second, OpenAI's


class Order(BaseModel):
    """The body of POST /v1/audio/speech on a worker's socket. `sample_rate` is in samples a second, `bit_rate` in bits a
    second, 0 for what is usual."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    input: Annotated[str, Field(min_length=1)]
    voice: Annotated[str, Field(min_length=1, max_length=200)]
    response_format: Container = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    sample_rate: Annotated[int, Field(ge=8_000, le=48_000)] = RATE
    bit_rate: Annotated[int, Field(ge=0, le=320_000)] = 0
