"""Engines that run elsewhere: what a user writes down about a model of one."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ExternalSettings(BaseModel):
    """The fields of a model's settings that make it an external one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["external"] | None = Field(None, description="An engine that runs elsewhere and speaks OpenAI's API.")
    url: str = Field("", max_length=1000, description="Its base URL, with `/v1` where it has that.")
    key_env: str = Field("", pattern=r"^[A-Za-z0-9_]{0,100}$", description="The environment variable that has its API key.")
    upstream: str = Field("", max_length=300, description="What the model is called there; found out where there is one only.")
    task: Literal["chat", "embedding"] = Field("chat", description="What an external model is for.")
    vision: bool = Field(False, description="Whether an external model looks at images.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.engine is None:
            if {"url", "key_env", "upstream", "task", "vision"} & self.model_fields_set:
                raise ValueError("it is for external models only: set engine = 'external'")
            return self
        if not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise ValueError("its url has letters that no url has; quote them as %XX, and a host's name as xn--…")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError("an external model needs a url such as http://gpu-box:8000/v1, without a user or a query")
        _ = parts.port  # raises ValueError for one that is none
        return self
