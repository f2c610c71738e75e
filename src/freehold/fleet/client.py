"""Calls to workers, with limits on how long they may take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import EngineTimeout
from freehold.fleet.exchange import Exchange
from freehold.fleet.patience import Patience


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class Stream:
    """An answer that is still coming. `chunks` yields bytes as they arrive, split anywhere."""

    def __init__(self, exchange: Exchange, status: int, idle: float):
        self._exchange = exchange
        self._idle = idle
        self.status = status

    async def read(self) -> bytes:
        """The whole body; for answers that turn out to be an error."""
        with _told():
            async with asyncio.timeout(self._idle):
                return await self._exchange.read_all()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises EngineTimeout after `idle` seconds of silence, ModelFailed when the worker goes away."""
        read = self._exchange.read
        with _told(), Patience(self._idle) as patience:
            while True:
                patience.begin()
                data = await read()
                patience.end()
                if not data:
                    return
                yield data


class EngineClient:
    """HTTP to one worker's socket. A fresh connection for each request: llama.cpp's server closes kept-alive ones at will,
    and on a unix socket a new one is cheap. Raises EngineTimeout, ModelFailed, EngineBadResponse."""

    def __init__(self, socket: Path):
        self._socket = socket

    async def post(self, path: str, body: bytes, within: float) -> Answer:
        """One call, whole answer."""
        return await self._call("POST", path, body, within)

    async def get(self, path: str, within: float) -> Answer:
        return await self._call("GET", path, b"", within)

    async def _call(self, method: str, path: str, body: bytes, within: float) -> Answer:
        with _told():
            async with asyncio.timeout(within):
                exchange = await Exchange.begin(self._socket, method, path, body)
                with contextlib.closing(exchange):
                    return Answer(await exchange.head(), await exchange.read_all())

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: bytes, first: float, idle: float) -> AsyncIterator[Stream]:
        """One call, answer as it comes. Leaving the block early closes the connection, which frees the engine's slot."""
        exchange = None
        try:
            with _told():
                async with asyncio.timeout(first):
                    exchange = await Exchange.begin(self._socket, "POST", path, body)
                    status = await exchange.head()
            yield Stream(exchange, status, idle)
        finally:
            if exchange is not None:
                exchange.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise EngineTimeout("The model did not answer in time; the request was ended.") from None
