"""The server process: an already bound socket in, requests served, everything cleaned up after."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from freehold.errors import StartError
from freehold.gateway.app import build_app
from freehold.gateway.bind import most_connections
from freehold.gateway.connection import Connection
from freehold.gateway.reload import Live, terminal_gone
from freehold.gateway.services import Services, compose
from freehold.routing.planner import Home
from freehold.settings import HttpSettings, Settings
from freehold.store.store import Store
from freehold.telemetry import Telemetry

_PREFIX = "freehold-run-"


class ServerConfig(uvicorn.Config):
    """What uvicorn hands to each connection. `most` is the number of connections served at a time."""

    def __init__(self, app: ASGIApp, limits: HttpSettings, most: int, write_timeout: float, telemetry: Telemetry):
        super().__init__(
            app, http=Connection, log_config=None, access_log=False, lifespan="off", server_header=False, ws="none"
        )
        self.limits = limits
        self.most = most
        self.write_timeout = write_timeout
        self.telemetry = telemetry


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its signal handling: ours drains first, and answers newcomers while it does."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


async def serve(
    settings: Settings,
    store: Store,
    listeners: list[socket.socket],
    home: Home,
    *,
    during: Callable[[Services], Awaitable[None]],
    read: Callable[[], Settings],
) -> None:
    """Serves until a signal comes or `during` (start-up work, run beside the serving) raises.

    The first SIGINT or SIGTERM drains: running requests finish, new ones get 503. The second ends at once. SIGHUP takes the
    settings that `read` gives then. Raises what ended the serving, when nobody asked for that.
    """
    async with _running(settings, store, home) as services:
        live = Live(services)
        server = _http(live)
        stop = _Stop(lambda: live.reload(read))
        serving = asyncio.create_task(server.serve(sockets=listeners), name="http")
        starting = asyncio.create_task(_until_asked(during, services, stop), name="start-up")
        try:
            await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            else:
                serving.result()
                raise StartError("The server's HTTP side ended by itself.", "Start it again; FREEHOLD_DEBUG=1 tells more.")
            if not stop.again.is_set():
                await _first(services.traffic.drained(live.now.settings.timeouts.drain), stop.again.wait())
        finally:
            services.traffic.turned_away.set()  # whichever way it came here: nobody starts a worker any more
            starting.cancel()
            await services.close()  # what still streams gets its error event now, while it can be sent
            await services.traffic.drained(1.0)
            server.should_exit = server.force_exit = True
            await asyncio.gather(serving, starting, stop.close(), return_exceptions=True)


def _http(live: Live) -> _Uvicorn:
    """The HTTP side, which counts its connections."""
    settings, telemetry = live.now.settings, live.now.telemetry
    most, write = most_connections(settings), settings.timeouts.write
    server = _Uvicorn(ServerConfig(build_app(live), settings.http, most, write, telemetry))
    connections = server.server_state.connections
    telemetry.watch(lambda: [("freehold_connections", "Open connections of clients.", {}, len(connections))])
    return server


class _Stop:
    """What the operator has asked for: `asked` after one signal, `again` after two. A hangup reloads the settings, or is such a
    signal where it says that the terminal is gone."""

    def __init__(self, reload: Callable[[], Awaitable[object]]) -> None:
        self.asked = asyncio.Event()
        self.again = asyncio.Event()
        self._reload = reload
        self._reloading: asyncio.Task[object] | None = None
        self._terminal = not terminal_gone()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signal)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)

    async def close(self) -> None:
        if self._reloading is not None:
            await self._reloading

    def _hangup(self) -> None:
        if self._terminal and terminal_gone():
            self._signal()
        elif self._reloading is None or self._reloading.done():
            self._reloading = asyncio.ensure_future(self._reload())

    def _signal(self) -> None:
        (self.again if self.asked.is_set() else self.asked).set()


async def _until_asked(during: Callable[[Services], Awaitable[None]], services: Services, stop: _Stop) -> None:
    work = asyncio.ensure_future(during(services))
    asked = asyncio.create_task(stop.asked.wait())
    try:
        await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            await asked
    finally:
        work.cancel()
        asked.cancel()
        await asyncio.gather(work, asked, return_exceptions=True)


async def _first(*awaitables: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def _running(settings: Settings, store: Store, home: Home) -> AsyncIterator[Services]:
    """The services over a private runtime folder; both are gone afterwards."""
    with _runtime_folder() as runtime:
        services = compose(settings, store, runtime, home)
        try:
            yield services
        finally:
            await services.close()


@contextlib.contextmanager
def _runtime_folder() -> Iterator[Path]:
    """A folder of mode 0700 for sockets. The lock inside tells a living server's folder from one left by a kill -9."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (old / "lock").open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
    runtime = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with (runtime / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield runtime
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
