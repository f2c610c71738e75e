"""Names to addresses, by the system's resolver, whatever time it takes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

_MOST = 16  # names that are looked up at a time


class Resolver:
    """Each name is looked up in a thread of its own: one that hangs holds neither the event loop's threads nor the server's
    end. Who stops waiting leaves the thread to its work, and its place taken until that is done."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_MOST)

    async def __call__(self, host: str, port: int) -> list[str]:
        """All addresses of a host, as text, in the resolver's order. Raises OSError where there are none."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def tell(addresses: list[str]) -> None:
            self._places.release()
            if not found.done():
                found.set_result(addresses)

        def look() -> None:
            try:
                items = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError, ValueError):
                items = []
            with contextlib.suppress(RuntimeError):  # the server has ended in the meantime
                loop.call_soon_threadsafe(tell, list(dict.fromkeys(str(item[4][0]) for item in items)))

        threading.Thread(target=look, name="resolve", daemon=True).start()
        addresses = await found
        if not addresses:
            raise OSError("no address")
        return addresses
