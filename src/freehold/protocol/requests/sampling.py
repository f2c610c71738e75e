"""What chat and text completions share: OpenAI's sampling parameters and llama.cpp's own."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, USERS, Extra, Honoured, Part, Request
from freehold.protocol.requests.grammars import too_ambiguous
from freehold.protocol.values import Target

MAX_STOPS = 16
MAX_CHOICES = 128
_INT64 = 2**63


def _one_or_many(value: object) -> object:
    """A single stop string counts as a list of one."""
    if isinstance(value, str):
        return [value]
    if value is not None and not isinstance(value, list):
        raise PydanticCustomError(NO_BRANCH, "|expected a string or an array of strings.")
    return value


Stops = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=MAX_STOPS), BeforeValidator(_one_or_many)
]


class StreamOptions(Part):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingRequest(Request):
    """Fields of both endpoints, with OpenAI's ranges."""

    temperature: Annotated[float | None, Honoured("0 always takes the likeliest token")] = Field(None, ge=0, le=2)
    top_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    n: Annotated[int | None, Honoured("each choice is a generation of its own; usage is their sum")] = Field(
        None, ge=1, le=MAX_CHOICES
    )
    stop: Annotated[Stops | None, Honoured(f"up to {MAX_STOPS} strings (OpenAI: 4)")] = None
    stream: Annotated[bool | None, Honoured()] = None
    stream_options: Annotated[
        StreamOptions | None, Honoured("`include_usage`; `include_obfuscation` must not be true: nothing is padded")
    ] = None
    seed: Annotated[int | None, Honoured("same seed, same answer on the same machine and engine; choice k uses seed + k")] = (
        Field(None, ge=-_INT64, lt=_INT64)
    )
    presence_penalty: Annotated[float | None, Honoured("over the whole text so far")] = Field(None, ge=-2, le=2)
    frequency_penalty: Annotated[float | None, Honoured("over the whole text so far")] = Field(None, ge=-2, le=2)
    logit_bias: Annotated[
        dict[str, Annotated[float, Field(ge=-100, le=100)]] | None,
        Honoured("token ids of the model that runs; −100 bans the token"),
    ] = Field(None, max_length=1024)
    user: Annotated[str | None, USERS] = None

    top_k: Annotated[int | None, Extra("0 is off")] = Field(None, ge=0, le=1_000_000)
    min_p: Annotated[float | None, Extra()] = Field(None, ge=0, le=1)
    typical_p: Annotated[float | None, Extra()] = Field(None, ge=0, le=1)
    top_n_sigma: Annotated[float | None, Extra("−1 is off")] = Field(None, ge=-1, le=100)
    repeat_penalty: Annotated[float | None, Extra("1 is off")] = Field(None, gt=0, le=10)
    repeat_last_n: Annotated[int | None, Extra("tokens looked back; −1 is the whole context")] = Field(
        None, ge=-1, le=1_000_000
    )
    dry_multiplier: Annotated[float | None, Extra("0 is off")] = Field(None, ge=0, le=100)
    dry_base: Annotated[float | None, Extra()] = Field(None, ge=1, le=100)
    dry_allowed_length: Annotated[int | None, Extra()] = Field(None, ge=1, le=10_000)
    dry_penalty_last_n: Annotated[int | None, Extra("tokens looked back; −1 is the whole context")] = Field(
        None, ge=-1, le=1_000_000
    )
    xtc_probability: Annotated[float | None, Extra("0 is off")] = Field(None, ge=0, le=1)
    xtc_threshold: Annotated[float | None, Extra()] = Field(None, ge=0, le=1)
    mirostat: Annotated[int | None, Extra("0 is off")] = Field(None, ge=0, le=2)
    mirostat_tau: Annotated[float | None, Extra()] = Field(None, ge=0, le=100)
    mirostat_eta: Annotated[float | None, Extra()] = Field(None, ge=0, le=1)
    grammar: Annotated[str | None, Extra("GBNF; not together with tools or a JSON format")] = Field(
        None, min_length=1, max_length=32_768
    )
    cache_prompt: Annotated[bool | None, Extra("false computes the whole prompt anew")] = None

    @property
    def first_seed(self) -> int | None:
        """The seed of the first choice, by whichever name."""
        return self.seed

    @model_validator(mode="after")
    def _check_sampling(self) -> Self:
        options = self.stream_options
        if options is not None and not self.stream:
            raise InvalidRequest(
                "'stream_options' is only allowed when 'stream' is true.", param="stream_options", code="invalid_value"
            )
        if options is not None and options.include_obfuscation:
            raise InvalidRequest(
                "Unsupported parameter: 'stream_options.include_obfuscation'. Streams are never padded here; leave it out.",
                param="stream_options.include_obfuscation",
                code="unsupported_parameter",
            )
        if self.grammar and too_ambiguous(self.grammar):
            raise InvalidRequest(
                "The grammar is too ambiguous: from some place, a text may go on in thousands of ways.",
                param="grammar",
                code="invalid_value",
            )
        for token in self.logit_bias or ():
            if not (token.isascii() and token.isdigit() and len(token) <= 10):
                raise InvalidRequest(
                    f"Invalid key in 'logit_bias': {token[:64]!r}. Expected a token id.",
                    param="logit_bias",
                    code="invalid_value",
                )
        return self


EXTRAS = tuple(
    name for name, field in SamplingRequest.model_fields.items() if any(isinstance(m, Extra) for m in field.metadata)
)
_SAME_NAME = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    *(name for name in EXTRAS if name != "cache_prompt"),
)


def sampling_fields(request: SamplingRequest, target: Target, choice: int) -> dict[str, Any]:
    """The engine's fields for one choice of a request. Raises InvalidRequest for a token that the model does not have."""
    given = request.model_fields_set
    fields: dict[str, Any] = {name: value for name, value in target.sampling.items() if name not in given}
    for name in _SAME_NAME:
        value = getattr(request, name)
        if value is not None:
            fields[name] = value
    if (request.presence_penalty or request.frequency_penalty) and request.repeat_last_n is None:
        fields["repeat_last_n"] = -1  # the engine looks back 64 tokens only; OpenAI's penalties see the whole text
    for name in ("repeat_last_n", "dry_penalty_last_n"):
        if name in fields:  # this engine has no -1 for "all", and reserves memory for as many as it is told
            fields[name] = target.context if fields[name] < 0 else min(fields[name], target.context)
    if request.stop:
        fields["stop"] = request.stop
    if request.first_seed is not None:
        fields["seed"] = (request.first_seed + choice) % (2**32 - 1)  # 2**32 - 1 itself asks the engine for a random seed
    if request.logit_bias:
        fields["logit_bias"] = [_bias(int(token), bias, target.vocab_size) for token, bias in request.logit_bias.items()]
    if request.cache_prompt is not None:
        fields["cache_prompt"] = request.cache_prompt
    return fields


def has_stops(request: SamplingRequest, target: Target) -> bool:
    """Whether an answer can end at a string, the request's or one of the model's own."""
    return bool(request.stop if "stop" in request.model_fields_set else target.sampling.get("stop"))


def streaming(request: SamplingRequest, target: Target, streamed: bool) -> dict[str, Any]:
    """The engine's fields that say how it answers. A whole answer that is put together from a stream with stop strings needs
    to know with each piece how many tokens there have been: see `Assembly.lacks`."""
    fields: dict[str, Any] = {"stream": streamed}
    if streamed:
        fields["stream_options"] = {"include_usage": True}
    if streamed and not request.stream and has_stops(request, target):
        fields["timings_per_token"] = True
    return fields


def _bias(token: int, bias: float, vocabulary: int) -> list[Any]:
    if token >= vocabulary:
        raise InvalidRequest(
            f"Invalid key in 'logit_bias': {token} is not a token of this model, which has {vocabulary}.",
            param="logit_bias",
            code="invalid_value",
        )
    return [token, False if bias <= -100 else bias]
