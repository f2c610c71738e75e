"""POST /v1/completions: every documented parameter, honoured or refused."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, Honoured
from freehold.protocol.requests.sampling import SamplingRequest

MAX_PROMPTS = 128
Tokens = list[int]


def prompts_of(value: object) -> object:
    """OpenAI's four forms as one: a list of prompts, each a string or a list of token ids."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise _no_prompt("expected a string, an array of strings, an array of token ids, or an array of such arrays.")
    if not value:
        raise _no_prompt("the array is empty.")
    if all(_is_token(item) for item in value):
        return [value]
    if all(isinstance(item, str) for item in value):
        return value
    if all(isinstance(item, list) and item and all(_is_token(token) for token in item) for item in value):
        return value
    raise _no_prompt("all items must be strings, or all token ids (integers from 0), or all non-empty arrays of token ids.")


def _is_token(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**31


def _no_prompt(reason: str) -> PydanticCustomError:
    return PydanticCustomError(NO_BRANCH, "|{reason}", {"reason": reason})


Prompts = Annotated[list[str | Tokens], BeforeValidator(prompts_of)]


class CompletionRequest(SamplingRequest):
    prompt: Annotated[Prompts, Honoured(f"a string, several, token ids, or several arrays of them; at most {MAX_PROMPTS}")]
    max_tokens: Annotated[int | None, Honoured("16 without it, as with OpenAI; 0 only with `echo`")] = Field(None, ge=0)
    echo: Annotated[
        bool | None, Honoured("with `logprobs`, the prompt's tokens are scored exactly, at the speed of generation")
    ] = None
    logprobs: Annotated[int | None, Honoured()] = Field(None, ge=0, le=5)
    best_of: Annotated[int | None, Honoured("equal to `n` only: candidates beyond it would be thrown away unseen")] = Field(
        None, ge=1, le=20
    )
    suffix: Annotated[
        str | None, Honoured("by models that fill in the middle; with one prompt, without `echo` and `logprobs`")
    ] = Field(None, max_length=4_000_000)

    @property
    def limit(self) -> int:
        return 16 if self.max_tokens is None else self.max_tokens

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.prompt) > MAX_PROMPTS:
            raise InvalidRequest(
                f"Invalid 'prompt': array too long. Expected at most {MAX_PROMPTS} prompts, but got {len(self.prompt)}.",
                param="prompt",
                code="array_above_max_length",
            )
        if self.limit == 0 and not self.echo:
            raise InvalidRequest(
                "'max_tokens' of 0 asks for nothing unless 'echo' is true.", param="max_tokens", code="invalid_value"
            )
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise InvalidRequest(
                "Unsupported parameter: 'best_of' other than 'n'. Ask for n choices and pick one.",
                param="best_of",
                code="unsupported_parameter",
            )
        return self
