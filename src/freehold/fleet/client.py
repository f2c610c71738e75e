"""Calls to workers. The one place where the HTTP library's errors become Freehold's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from freehold.errors import EngineBadResponse, EngineTimeout, ModelFailed
from freehold.fleet.patience import Patience

_JSON = {"Content-Type": "application/json"}
_UNBOUNDED = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=10)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class Stream:
    """An answer that is still coming. `chunks` yields bytes as they arrive, split anywhere."""

    def __init__(self, response: aiohttp.ClientResponse, idle: float):
        self._response = response
        self._idle = idle
        self.status = response.status

    async def read(self) -> bytes:
        """The whole body; for answers that turn out to be an error."""
        with _translated():
            async with asyncio.timeout(self._idle):
                return await self._response.read()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises EngineTimeout after `idle` seconds of silence, ModelFailed when the worker goes away."""
        readany = self._response.content.readany
        with _translated(), Patience(self._idle) as patience:
            while True:
                patience.begin()
                data = await readany()
                patience.end()
                if not data:
                    return
                yield data


class EngineClient:
    """HTTP to one worker's socket. A fresh connection for each request: llama.cpp's server closes kept-alive ones at will,
    and on a unix socket a new one is cheap."""

    def __init__(self, socket: Path):
        connector = aiohttp.UnixConnector(path=str(socket), force_close=True, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_UNBOUNDED, auto_decompress=False, trust_env=False)

    async def close(self) -> None:
        await self._session.close()

    async def post(self, path: str, body: bytes, within: float) -> Answer:
        """One call, whole answer. Raises EngineTimeout, ModelFailed, EngineBadResponse."""
        with _translated():
            async with (
                asyncio.timeout(within),
                self._session.post(f"http://worker{path}", data=body, headers=_JSON) as response,
            ):
                return Answer(response.status, await response.read())

    async def get(self, path: str, within: float) -> Answer:
        with _translated():
            async with asyncio.timeout(within), self._session.get(f"http://worker{path}") as response:
                return Answer(response.status, await response.read())

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: bytes, first: float, idle: float) -> AsyncIterator[Stream]:
        """One call, answer as it comes. Leaving the block early closes the connection, which frees the engine's slot."""
        with _translated():
            async with asyncio.timeout(first):
                response = await self._session.post(f"http://worker{path}", data=body, headers=_JSON)
        try:
            yield Stream(response, idle)
        finally:
            response.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise EngineTimeout("The model did not answer in time; the request was ended.") from None
    except aiohttp.ClientPayloadError:
        raise ModelFailed("The model's worker ended in the middle of its answer.", code="worker_died") from None
    except (aiohttp.ClientConnectionError, ConnectionError):
        raise ModelFailed("The model's worker is gone; it is being restarted.", code="worker_died") from None
    except aiohttp.ClientError:
        raise EngineBadResponse("The model's worker sent something that is not HTTP.") from None
