"""POST /v1/embeddings: every documented parameter, honoured or refused."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import USERS, Honoured, Request
from freehold.protocol.requests.completion import Prompts

MAX_INPUTS = 2048


class EmbeddingRequest(Request):
    input: Annotated[Prompts, Honoured(f"a string, several, token ids, or several arrays of them; at most {MAX_INPUTS}")]
    encoding_format: Annotated[Literal["float", "base64"] | None, Honoured("`float` without it")] = None
    dimensions: Annotated[int | None, Honoured("sizes the model was trained to be cut to; others are refused")] = Field(
        None, ge=1
    )
    user: Annotated[str | None, USERS] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.input) > MAX_INPUTS:
            raise InvalidRequest(
                f"Invalid 'input': array too long. Expected at most {MAX_INPUTS} inputs, but got {len(self.input)} instead.",
                param="input",
                code="array_above_max_length",
            )
        for index, text in enumerate(self.input):
            if not text:
                raise InvalidRequest(
                    "Invalid 'input': input cannot be an empty string.",
                    param="input" if len(self.input) == 1 else f"input[{index}]",
                    code="empty_string",
                )
        return self
