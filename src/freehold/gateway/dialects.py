"""How the clients of each API are told that something went wrong, whatever it was and wherever it was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from freehold.errors import FreeholdError
from freehold.protocol import elevenlabs
from freehold.protocol.anthropic import errors as anthropic
from freehold.protocol.ollama import errors as ollama


@dataclass(frozen=True)
class Dialect:
    """`error` makes the body from an error and the request's id; `identity` is the header in which clients look for that id,
    beside `x-request-id`. Of `untyped` bodies nobody says that they are JSON: curl calls them a form."""

    error: Callable[[FreeholdError, str], dict[str, Any]]
    identity: str | None = None
    untyped: bool = False


OPENAI = Dialect(lambda error, identity: error.envelope())
ANTHROPIC = Dialect(anthropic.envelope, "request-id")
ELEVENLABS = Dialect(elevenlabs.envelope, "request-id")
OLLAMA = Dialect(ollama.envelope, untyped=True)
ByScope = Callable[[Scope], Dialect]
_VERSION = b"anthropic-version"  # a header that all of Anthropic's clients send, and no others


def by_path(dialects: Mapping[str, Dialect]) -> ByScope:
    """The dialect of what was asked for: that of the path, up to a part that varies, or of the client where it says which
    it speaks."""
    beginnings = {path.partition("{")[0]: own for path, own in dialects.items() if "{" in path and own is not OPENAI}

    def of(path: str) -> Dialect:
        return next((own for beginning, own in beginnings.items() if path.startswith(beginning)), OPENAI)

    def dialect(scope: Scope) -> Dialect:
        own = dialects.get(scope["path"]) or of(scope["path"])
        return ANTHROPIC if own is OPENAI and any(name == _VERSION for name, _ in scope["headers"]) else own

    return dialect


def speaks_anthropic(headers: Headers) -> bool:
    """Whether a request that several dialects have comes from a client of Anthropic's."""
    return _VERSION.decode() in headers
