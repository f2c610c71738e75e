"""Connections that say nothing, or never finish saying it: `python -m soak.flood PORT COUNT`, until its stdin closes.

A process of its own, so that the client whose latency is measured does not share its event loop. A connection that the server
closes is opened again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time

import uvloop

_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


class _Slow(asyncio.Protocol):
    """Every second one has sent most of a head, and sends another byte of it now and then."""

    def __init__(self, flood: _Flood, talks: bool):
        self._flood = flood
        self._talks = talks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._began = time.perf_counter()
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._flood.open.add(self)
        if self._talks:
            self._transport.write(_HEAD)

    def trickle(self) -> None:
        if self._talks and not self._transport.is_closing():
            self._transport.write(b"x")

    def eof_received(self) -> None:
        self._flood.longest = max(self._flood.longest, time.perf_counter() - self._began)

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()
        self._flood.open.discard(self)


class _Flood:
    def __init__(self, port: int, count: int):
        self._port, self._count = port, count
        self.open: set[_Slow] = set()
        self.opened = 0
        self.failed = 0
        self.longest = 0.0

    async def run(self) -> None:
        over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        told = False
        while not over.done():
            for _ in range(0, self._count - len(self.open), 100):
                await asyncio.gather(*(self._one() for _ in range(min(100, self._count - len(self.open)))))
            if not told and len(self.open) >= self._count:
                print("open", flush=True)
                told = True
            for slow in itertools.islice(list(self.open), 0, None, 20):
                slow.trickle()
            await asyncio.sleep(0.1)
        print(json.dumps({"opened": self.opened, "failed": self.failed, "longest": self.longest}), flush=True)

    async def _one(self) -> None:
        self.opened += 1
        source = f"127.0.0.{2 + self.opened % 8}"  # one address has not enough ports for all that are opened again
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: _Slow(self, self.opened % 2 == 0), "127.0.0.1", self._port, local_addr=(source, 0)
            )
        except OSError:
            self.failed += 1


if __name__ == "__main__":
    uvloop.run(_Flood(int(sys.argv[1]), int(sys.argv[2])).run())
