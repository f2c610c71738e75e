"""A WebSocket to a worker: for what goes both ways at the same time, such as speech that is heard while it is spoken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from freehold.errors import EngineBadResponse, EngineTimeout, WorkerDied

_LARGEST = 2**20  # bytes of a message
_PIECE = 64 * 1024  # bytes of data sent at once: a worker takes no more than a mebibyte
_PING = 10.0  # seconds; a worker that does not answer is gone


class Line:
    """An open line. Sending waits while the worker does not take what it is sent.

    Raises WorkerDied when the worker is gone, or gives no sign of life.
    """

    def __init__(self, connection: ClientConnection):
        self._connection = connection

    async def tell(self, text: str) -> None:
        with _translated():
            await self._connection.send(text)

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            with _translated():
                await self._connection.send(data[start : start + _PIECE])

    async def receive(self) -> str:
        """The next message. Raises EngineBadResponse for one that is not text."""
        with _translated():
            message = await self._connection.recv()
        if not isinstance(message, str):
            raise EngineBadResponse("The model's worker sent something that is not text.")
        return message


@contextlib.asynccontextmanager
async def line(socket: Path, path: str, within: float) -> AsyncIterator[Line]:
    """Opens a line within so many seconds. Raises WorkerDied, EngineTimeout, EngineBadResponse."""
    connecting = unix_connect(
        str(socket),
        f"ws://worker{path}",
        open_timeout=None,
        ping_interval=_PING,
        ping_timeout=_PING,
        close_timeout=1,
        max_size=_LARGEST,
        compression=None,
        proxy=None,
        user_agent_header=None,
    )
    try:
        async with asyncio.timeout(within):
            connection = await connecting
    except TimeoutError:
        raise EngineTimeout("The model's worker did not answer in time.") from None
    except (InvalidStatus, InvalidHandshake, InvalidMessage):
        raise EngineBadResponse("The model's worker does not listen to live speech.") from None
    except (OSError, EOFError):
        raise WorkerDied("The model's worker is gone; it is being restarted.", reached=False) from None
    try:
        yield Line(connection)
    finally:
        connection.transport.abort()  # it keeps nothing of a line that is closed; a good-bye would have to be waited for


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed:
        raise WorkerDied("The model's worker is gone; it is being restarted.", reached=True) from None
