"""A load client that costs little: HTTP/1.1 on asyncio transports, kept alive, to a port of loopback or to a unix socket."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Address = int | Path


@dataclass
class Answer:
    """One answer. `events` are the arrival times (perf_counter) of the pieces with server-sent events, `count` the events."""

    status: int
    body: bytes
    sent: float
    done: float = 0.0
    events: list[float] = field(default_factory=list)
    count: int = 0

    @property
    def seconds(self) -> float:
        return self.done - self.sent

    def json(self) -> Any:
        """The JSON of a whole answer."""
        return json.loads(self.body)

    def payloads(self) -> list[Any]:
        """The JSON of every event of a stream."""
        lines = [line[6:] for line in self.body.split(b"\n\n") if line.startswith(b"data: {")]
        return [json.loads(line) for line in lines]


def request(path: str, body: dict[str, Any]) -> bytes:
    """The bytes of a POST."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Connection(asyncio.Protocol):
    """One connection; `ask` sends a request and waits for its whole answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._waiting: asyncio.Future[Answer] | None = None
        self._first: asyncio.Future[None] | None = None
        self._answer: Answer | None = None
        self._data = bytearray()
        self._length: int | None = None
        self._sent = 0.0
        self.closing = False

    @classmethod
    async def open(cls, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        if isinstance(address, int):
            _, protocol = await loop.create_connection(cls, "127.0.0.1", address)
        else:
            _, protocol = await loop.create_unix_connection(cls, str(address))
        return protocol

    async def ask(self, data: bytes) -> Answer:
        """Raises ConnectionError when the server closes before the answer is complete."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._answer, self._length = None, None
        self._data.clear()
        self._sent = time.perf_counter()
        self._transport.write(data)
        return await self._waiting

    async def begin(self, data: bytes) -> None:
        """Sends a request and returns with the first piece of its body; for answers that are left before their end."""
        self._first = asyncio.get_running_loop().create_future()
        self._answer, self._length = None, None
        self._data.clear()
        self._transport.write(data)
        await self._first

    def send(self, data: bytes) -> None:
        """Sends a request whose answer nobody waits for."""
        self._transport.write(data)

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("closed before the answer was complete"))
        if self._first is not None and not self._first.done():
            self._first.set_exception(exc or ConnectionError("closed before the answer had begun"))

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._data += data
        answer = self._answer
        if answer is None:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            answer = self._answer = self._begin(bytes(self._data[:end]).lower())
            data = bytes(self._data[end + 4 :])
            del self._data[: end + 4]
        if self._first is not None and self._data and not self._first.done():
            self._first.set_result(None)
        if self._length is None:
            count = data.count(b"data: ")
            if count:
                answer.events.append(now)
                answer.count += count
            if self._data.endswith(b"0\r\n\r\n"):
                self._finish(answer, _unchunked(bytes(self._data)), now)
        elif len(self._data) >= self._length:
            self._finish(answer, bytes(self._data), now)

    def _begin(self, head: bytes) -> Answer:
        if (found := head.find(b"\r\ncontent-length:")) >= 0:
            self._length = int(head[found + 17 :].split(b"\r\n", 1)[0])
        self.closing = b"\r\nconnection: close" in head
        return Answer(int(head[9:12]), b"", self._sent)

    def _finish(self, answer: Answer, body: bytes, now: float) -> None:
        answer.body, answer.done = body, now
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)


def _unchunked(data: bytes) -> bytes:
    """The body of a complete chunked answer."""
    pieces = []
    while data:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if size == 0:
            break
        pieces.append(data[:size])
        data = data[size + 2 :]
    return b"".join(pieces)


class Client:
    """Keeps one connection for successive requests, and opens another when the server closed it."""

    def __init__(self, address: Address):
        self._address = address
        self._connection: Connection | None = None

    async def ask(self, data: bytes) -> Answer:
        if self._connection is None or self._connection.closing:
            self._connection = await Connection.open(self._address)
        answer = await self._connection.ask(data)
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.body[:500]!r}")
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
