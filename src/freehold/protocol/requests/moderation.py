"""POST /v1/moderations."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import USERS, Honoured, Part, Request

MAX_INPUTS = 256
Text = Annotated[str, Field(max_length=1_000_000)]


class TextInput(Part):
    type: Literal["text"]
    text: Text


class ImageInput(Part):
    model_config = Part.model_config | {"extra": "allow"}

    type: Literal["image_url"]


Inputs = Annotated[
    list[Annotated[TextInput | ImageInput, Field(discriminator="type")]], Field(min_length=1, max_length=MAX_INPUTS)
]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]


class ModerationRequest(Request):
    model: Annotated[str, Honoured("without it, the default of the setting `default_moderation`")] = Field(
        "@moderation", min_length=1, max_length=300
    )
    input: Annotated[Text | Texts | Inputs, Honoured(f"a string, several, or text parts; at most {MAX_INPUTS}; no images")]
    user: Annotated[str | None, USERS] = None

    @property
    def texts(self) -> list[str]:
        """A text for each result: parts are one input together, as with OpenAI."""
        if isinstance(self.input, str):
            return [self.input]
        strings = [item for item in self.input if isinstance(item, str)]
        parts = [item.text for item in self.input if isinstance(item, TextInput)]
        return strings or ["\n".join(parts)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for index, item in enumerate(self.input):
            if isinstance(item, ImageInput):
                problem = "No guard model here looks at images; send their texts only."
                raise InvalidRequest(problem, param=f"input[{index}]", code="unsupported_parameter")
        return self
