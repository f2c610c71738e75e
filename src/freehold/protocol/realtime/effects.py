"""What a session asks of the world: things to send, to hear and to answer. It never does them itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.protocol.realtime.config import Truncation
from freehold.protocol.values import Usage


@dataclass(frozen=True)
class Send:
    """An event for the client."""

    event: Mapping[str, Any]


@dataclass(frozen=True)
class Listen:
    """Hear with these settings from now on; what was heard and not committed is forgotten."""

    settings: Mapping[str, Any]
    model: str | None


@dataclass(frozen=True)
class Hear:
    audio: bytes


@dataclass(frozen=True)
class EndTurn:
    """What was heard until now is to be recognised."""


@dataclass(frozen=True)
class Forget:
    """What was heard since the last turn is to be forgotten."""


@dataclass(frozen=True)
class Transcribe:
    """A recording that came within an item is to be recognised, beside what is heard live."""

    item_id: str
    place: int
    audio: bytes
    settings: Mapping[str, Any]
    model: str | None


@dataclass(frozen=True)
class Order:
    """A response to be made: what it is an answer to, and how it is to be. `fields` are those of a chat completion beside its
    messages; `groups` are messages that only make sense together, oldest first; `voice` is None for an answer in writing."""

    response: str
    instructions: str
    groups: Sequence[Sequence[Mapping[str, Any]]]
    fields: Mapping[str, Any]
    truncation: Truncation
    voice: str | None
    speed: float
    audio_format: str


@dataclass(frozen=True)
class Begin:
    order: Order


@dataclass(frozen=True)
class Stop:
    """The response that is being made is not wanted any more."""


Effect = Send | Listen | Hear | EndTurn | Forget | Transcribe | Begin | Stop


# What the making of a response tells the session.


@dataclass(frozen=True)
class Text:
    delta: str


@dataclass(frozen=True)
class Call:
    """A piece of a function call; `index` tells the calls of a response apart, the name comes with the first piece."""

    index: int
    call_id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True)
class Sentence:
    """The audio that follows says this."""

    text: str


@dataclass(frozen=True)
class Sound:
    audio: bytes


@dataclass(frozen=True)
class Finished:
    """`reason` is the chat's own: stop, tool_calls or length."""

    reason: str
    usage: Usage | None


Progress = Text | Call | Sentence | Sound | Finished
