"""A streamed answer on its way from the worker to the client: bytes pass unparsed wherever nothing needs a look."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.types import Message, Send

from freehold.errors import EngineBadResponse, WorkerDied
from freehold.fleet.client import Stream
from freehold.fleet.patience import Patience
from freehold.protocol import sse
from freehold.protocol.framing import CHUNKS, Framing
from freehold.protocol.values import Usage

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Outgoing:
    """The client's end of a stream. It begins with the first piece, and always ends well-formed.

    `patience` is for a client that does not take what it is sent, `framing` what kind of stream it is.
    """

    def __init__(self, send: Send, headers: Mapping[str, str], patience: Patience, framing: Framing = CHUNKS):
        self._send = send
        headers = {"content-type": framing.content_type, **_HEADERS, **headers}
        self._headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        self._patience = patience
        self.begun = False

    async def write(self, events: bytes) -> None:
        if not self.begun:
            self.begun = True
            await self._put({"type": "http.response.start", "status": 200, "headers": self._headers})
        await self._put({"type": "http.response.body", "body": events, "more_body": True})

    async def close(self) -> None:
        await self._put({"type": "http.response.body", "body": b"", "more_body": False})

    async def _put(self, message: Message) -> None:
        self._patience.begin()
        await self._send(message)
        self._patience.end()


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
