"""How the clients of each API are told that something went wrong, whatever it was and wherever it was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from freehold.errors import FreeholdError


@dataclass(frozen=True)
class Dialect:
    """`error` makes the body from an error and the request's id; `identity` is the header in which clients look for that id,
    beside `x-request-id`."""

    error: Callable[[FreeholdError, str], dict[str, Any]]
    identity: str | None = None


OPENAI = Dialect(lambda error, identity: error.envelope())
ByScope = Callable[[Scope], Dialect]


def by_path(dialects: Mapping[str, Dialect]) -> ByScope:
    """The dialect of what was asked for: that of the path."""

    def dialect(scope: Scope) -> Dialect:
        return dialects.get(scope["path"], OPENAI)

    return dialect
