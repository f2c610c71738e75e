"""Calls to workers, with limits on how long they may take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import EngineBadResponse, EngineTimeout
from freehold.fleet import live
from freehold.fleet.exchange import Exchange, Place, Upload, whole
from freehold.fleet.live import Line
from freehold.fleet.patience import Patience


@dataclass(frozen=True)
class Answer:
    """`retry_after` is seconds, where the engine says so; an `external` engine is no worker of ours."""

    status: int
    body: bytes
    retry_after: float | None = None
    external: bool = False


class Stream:
    """An answer that is still coming. Reading raises ModelFailed when the worker goes away, EngineBadResponse for garbage;
    silence ends the block that opened the stream with EngineTimeout. For `retry_after` and `external` see Answer."""

    external = False

    def __init__(self, exchange: Exchange, status: int, patience: Patience):
        self._exchange = exchange
        self._patience = patience
        self.status = status
        self.content_type = exchange.content_type
        self.retry_after = exchange.retry_after

    async def read(self) -> bytes:
        """Bytes as they arrive, split anywhere; b"" at the end."""
        self._patience.begin()
        data = await self._exchange.read()
        self._patience.end()
        return data

    async def read_all(self) -> bytes:
        """The whole body; for answers that turn out to be an error, or are not made of pieces."""
        return await whole(self.read)


@dataclass
class Burden:
    """The requests a worker has in hand, and the bytes of their bodies; `most_…` is the highest since `settle`."""

    requests: int = 0
    size: int = 0
    most_requests: int = 0
    most_size: int = 0

    @contextlib.contextmanager
    def carrying(self, body: bytes | Upload) -> Iterator[None]:
        size = len(body)
        self.requests, self.size = self.requests + 1, self.size + size
        self.most_requests, self.most_size = max(self.most_requests, self.requests), max(self.most_size, self.size)
        try:
            yield
        finally:
            self.requests, self.size = self.requests - 1, self.size - size

    def settle(self) -> None:
        self.most_requests, self.most_size = self.requests, self.size


class EngineClient:
    """HTTP to one worker's socket. A fresh connection for each request: llama.cpp's server closes kept-alive ones at will,
    and on a unix socket a new one is cheap. Raises EngineTimeout, ModelFailed, EngineBadResponse.

    `external` tells an engine of another maker."""

    external = False

    def __init__(self, place: Path | Place):
        self._place = place
        self.burden = Burden()

    async def post(self, path: str, body: bytes, within: float) -> Answer:
        """One call, whole answer."""
        with self.burden.carrying(body):
            return await self._call("POST", path, body, within)

    async def get(self, path: str, within: float) -> Answer:
        return await self._call("GET", path, b"", within)

    async def _begin(self, method: str, path: str, body: bytes | Upload) -> Exchange:
        return await Exchange.begin(self._place, method, path, body)

    def _streaming(self, exchange: Exchange, status: int, patience: Patience) -> Stream:
        return Stream(exchange, status, patience)

    async def _call(self, method: str, path: str, body: bytes, within: float) -> Answer:
        try:
            async with asyncio.timeout(within):
                exchange = await self._begin(method, path, body)
                with contextlib.closing(exchange):
                    return Answer(await exchange.head(), await whole(exchange.read), exchange.retry_after)
        except TimeoutError:
            raise _late() from None

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: bytes | Upload, first: float, idle: float) -> AsyncIterator[Stream]:
        """One call, answer as it comes: `first` seconds to its head, `idle` seconds between two pieces.

        Leaving the block early closes the connection, which frees the engine's slot.
        """
        with self.burden.carrying(body):
            exchange = None
            try:
                try:
                    async with asyncio.timeout(first):
                        exchange = await self._begin("POST", path, body)
                        status = await exchange.head()
                except TimeoutError:
                    raise _late() from None
                with Patience(idle, _late) as patience:
                    yield self._streaming(exchange, status, patience)
            finally:
                if exchange is not None:
                    exchange.close()

    @contextlib.asynccontextmanager
    async def line(self, path: str, within: float) -> AsyncIterator[Line]:
        """A line that goes both ways, opened within so many seconds."""
        if not isinstance(self._place, Path):
            raise EngineBadResponse("An engine that runs elsewhere has no such line.")
        async with live.line(self._place, path, within) as opened:
            yield opened


def _late() -> EngineTimeout:
    return EngineTimeout("The model did not answer in time; the request was ended.")
