"""What a request asks of the engine, and how the engine's answers become OpenAI's.

A plan is one or more engine calls (a call for each prompt and each choice, because the engine counts the usage of the first
choice only) and a joiner that puts their answers together again: whole ones at once, streamed ones chunk by chunk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from freehold.errors import FreeholdError, InvalidRequest
from freehold.protocol.framing import CHUNKS, Framing
from freehold.protocol.images import Image
from freehold.protocol.values import Usage

Chunk = dict[str, Any]

_MOST = 256 << 20  # bytes of all engine calls of a request


class Joiner(Protocol):
    """Puts one request's answers together. `usage` is exact once all calls have ended, or the answer is `complete`: then it
    needs no more of them, and they are ended."""

    @property
    def usage(self) -> Usage: ...

    @property
    def complete(self) -> bool: ...

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The body for the client, from the calls' whole answers in their order."""
        ...

    def opening(self) -> Iterable[Chunk]:
        """Chunks to send before the engine has said anything."""
        ...

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        """The client's chunks for one chunk of the call with that number."""
        ...

    def closing(self) -> Iterable[Chunk]:
        """Chunks to send when all calls have ended, the usage among them if the client asked for it."""
        ...

    def failed(self, error: FreeholdError) -> Iterable[Chunk]:
        """Chunks to send when an error ends a stream that has begun."""
        ...


class OpenAIJoiner:
    """What OpenAI's own shapes share. Those that never stream have no chunks."""

    complete = False

    def opening(self) -> Iterable[Chunk]:
        return ()

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        return ()

    def closing(self) -> Iterable[Chunk]:
        return ()

    def failed(self, error: FreeholdError) -> Iterable[Chunk]:
        return (error.envelope(),)


@dataclass(frozen=True)
class Echo:
    """What must be known of the prompts before they can be echoed. `scores` is how many likely tokens to give beside each
    prompt token's own log-probability; None leaves the prompts unscored."""

    prompts: tuple[str | tuple[int, ...], ...]
    scores: int | None


@dataclass(frozen=True)
class Echoed:
    """A prompt as text, and its tokens with their scores where they were asked for (see `completions.prompt_scores`)."""

    text: str
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Plan:
    """`concurrency` is how many calls run at once, so how many slots are leased; `stream` is what the client asked for,
    `streamed` what the engine is asked for; `relay` says that the one call's stream may pass unparsed, its usage event apart;
    `param` is what the engine's complaints about the prompt are about, `constraint` what those about the answer's grammar are
    about; `images` must pass `check_images` before the engine sees them; `framing` is how the joiner's chunks are written to a
    client that asked for a stream; `followed` says that the joiner must see a whole answer grow as well, as it may know its
    end before the engine does: it is then given no answers in the end; `reported` that the engine says how
    far it is with the prompt, so that its stream begins before its answer; `priority` is that of what somebody waits for in
    the middle of a word, or of any other."""

    path: str
    bodies: tuple[bytes, ...]
    concurrency: int
    stream: bool
    include_usage: bool
    relay: bool
    param: str
    joiner: Callable[[Sequence[Echoed]], Joiner]
    echo: Echo | None = None
    constraint: str = "grammar"
    images: tuple[Image, ...] = ()
    streamed: bool = False
    framing: Framing = CHUNKS
    followed: bool = False
    reported: bool = False
    priority: Literal["urgent", "interactive"] = "interactive"


def encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def together(bodies: Iterable[bytes], param: str = "n") -> tuple[bytes, ...]:
    """The bodies of one request's calls. Each repeats the whole prompt, images and all: raises InvalidRequest for more than a
    server should hold for one client. `param` is what there are many calls for."""
    made, size = [], 0
    for body in bodies:
        size += len(body)
        if size > _MOST:
            raise InvalidRequest(
                f"So many calls of a request this large are more than {_MOST >> 20} MiB together; ask for less at once.",
                param=param,
                code="invalid_value",
            )
        made.append(body)
    return tuple(made)
