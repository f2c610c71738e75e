"""A streamed answer on its way from the worker to the client: bytes pass unparsed wherever nothing needs a look."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from freehold.errors import EngineBadResponse, WorkerDied
from freehold.fleet.client import Stream
from freehold.fleet.patience import Patience
from freehold.gateway.http import ClientGone, UntilGone
from freehold.protocol import sse
from freehold.protocol.framing import CHUNKS, LINES
from freehold.protocol.shape import sound
from freehold.protocol.values import Usage

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # of events: nobody on the way keeps or gathers them
_EVENTS = "text/event-stream"


class Outgoing:
    """The client's end of an answer that is sent in pieces. It begins with the first of them, and always ends well-formed.

    `patience` is for a client that does not take what it is sent; `content_type` may still change before it begins.
    """

    def __init__(self, send: Send, headers: Mapping[str, str], patience: Patience, content_type: str = CHUNKS.content_type):
        self._send = send
        self._headers = headers
        self._patience = patience
        self.content_type = content_type
        self.begun = False

    @property
    def events(self) -> bool:
        """Whether what is sent are server-sent events."""
        return self.content_type.startswith(_EVENTS)

    async def write(self, piece: bytes) -> None:
        if not self.begun:
            await self._begin()
        await self._put({"type": "http.response.body", "body": piece, "more_body": True})

    async def close(self) -> None:
        await self._put({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self) -> None:
        self.begun = True
        lasting = _HEADERS if self.events or self.content_type == LINES.content_type else {}
        headers = {"content-type": self.content_type, **lasting, **self._headers}
        raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._put({"type": "http.response.start", "status": 200, "headers": raw})

    async def _put(self, message: Message) -> None:
        self._patience.begin()
        await self._send(message)
        self._patience.end()


class Told(Response):
    """What goes on elsewhere, in pieces as it is told: a client that leaves, or does not take a piece within `write` seconds,
    ends nothing but the telling."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], write: float, content_type: str = CHUNKS.content_type):
        super().__init__()
        self._pieces = pieces
        self._write = write
        self._kind = content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pieces) as pieces:
            with suppress(ClientGone), Patience(self._write, ClientGone) as patience:
                async with UntilGone(receive):
                    out = Outgoing(send, {}, patience, self._kind)
                    async for piece in pieces:
                        await out.write(piece)
                    await out.close()


class Meter:
    """What a request is accounted for: the engine's own usage where it came, and the times between pieces."""

    def __init__(self, inter_token: Callable[[float], None]):
        self.began = time.monotonic()
        self.first: float | None = None
        self.pieces = 0
        self.usage: Usage | None = None
        self._last = 0.0
        self._inter_token = inter_token

    def piece(self) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = now - self.began
        else:
            self._inter_token(now - self._last)
        self._last = now
        self.pieces += 1

    def add(self, usage: Usage) -> None:
        self.usage = usage if self.usage is None else self.usage + usage


async def relay(stream: Stream, out: Outgoing, meter: Meter, show_usage: bool) -> None:
    """Passes one call's events through. The usage event is always read, and shown only to a client that asked for it.

    Raises WorkerDied when the stream ends before its end, EngineBadResponse for what is no event at all.
    """
    cutter = sse.EventCutter()
    done = False
    while data := await stream.read():
        events = cutter.feed(data)
        if not events:
            continue
        meter.piece()
        if sse.plain(events):
            await out.write(events)
            continue
        for payload in sse.payloads(events):
            done = payload == b"[DONE]"
            if done:
                break
            if shown := _sifted(payload, meter, show_usage):  # each on its own: what precedes an error is still sent
                await out.write(shown)
        if done:
            break
    if not done:
        raise WorkerDied("The model's worker ended in the middle of its answer.", reached=True)
    await out.write(sse.DONE)
    await out.close()


def _sifted(payload: bytes, meter: Meter, show_usage: bool) -> bytes:
    """The event to pass on for a chunk that needed a look; empty for usage that the client did not ask for."""
    chunk = parse_chunk(payload)
    chunk.pop("timings", None)
    hidden = take_usage(chunk, meter) and not chunk.get("choices") and not show_usage
    return b"" if hidden else sse.encode(chunk)


def parse_chunk(payload: bytes) -> dict[str, Any]:
    """One engine chunk. Raises what the engine reports in an error event, EngineBadResponse for garbage."""
    try:
        chunk = json.loads(payload)
    except (ValueError, RecursionError):
        raise EngineBadResponse("The model's worker sent something that is not an event.") from None
    if not isinstance(chunk, dict):
        raise EngineBadResponse("The model's worker sent something that is not an event.")
    error = chunk.get("error", chunk if "code" in chunk and "message" in chunk else None)
    if error is not None:
        raise EngineBadResponse("The model's engine met an error in the middle of its answer.")
    if not sound(chunk):
        raise EngineBadResponse("The model's worker sent something that is not an event.")
    return chunk


def take_usage(chunk: dict[str, Any], meter: Meter) -> bool:
    """Accounts a chunk's usage, if it carries one."""
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        return False
    meter.add(Usage.from_engine(usage))
    return True


async def chunks_of(stream: Stream) -> AsyncIterator[dict[str, Any]]:
    """One call's chunks, parsed, up to its end. Raises like `relay`."""
    cutter = sse.EventCutter()
    while data := await stream.read():
        for payload in sse.payloads(cutter.feed(data)):
            if payload == b"[DONE]":
                return
            yield parse_chunk(payload)
    raise WorkerDied("The model's worker ended in the middle of its answer.", reached=True)
