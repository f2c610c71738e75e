"""The way from the event loop to the database: opened when it is first needed, one thread, one transaction a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from freehold.errors import Draining, FreeholdError
from freehold.telemetry import log

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from freehold.state.database import Database

T = TypeVar("T")
_HOUR = 3600.0


class State:
    """What is stored. `days` is how long; None keeps it until somebody deletes it.

    The database's library is loaded with the first call, by the thread: a server that stores nothing is not slowed by it.
    """

    def __init__(self, url: str, folder: Path, days: float | None):
        self._url = url
        self._folder = folder
        self._days = days
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._database: Database | None = None
        self._swept = 0.0

    async def run(self, work: Callable[[Database, Connection], T], *, erase: bool = False) -> T:
        """What `work` returns, once its transaction is on the disk. `erase` says that it deletes: then no copy is left in the
        log either. Raises StateUnavailable, and what `work` raises, having changed nothing.

        It is carried out even when the caller is cancelled: half a transaction there never is.
        """
        try:
            running = self._thread.submit(self._run, work, erase)
        except RuntimeError:  # closed
            raise Draining("The server is shutting down.") from None
        return await asyncio.wrap_future(running)

    async def sweep(self) -> None:
        """Deletes what is too old, every hour, for as long as this runs."""
        while self._days is not None:
            try:
                await self.run(lambda database, connection: None)
            except FreeholdError as error:
                log("what is stored is not swept", level=40, reason=error.message)
            await asyncio.sleep(_HOUR + 1)

    async def close(self) -> None:
        """Waits for what is being written."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._database is not None:
            self._database.close()

    def _run(self, work: Callable[[Database, Connection], T], erase: bool) -> T:
        database = self._opened()
        result = database.run(work)
        if erase:
            database.erase()
        return result

    def _opened(self) -> Database:
        if self._database is None:
            from freehold.state.database import Database, address

            self._database = Database(address(self._url, self._folder))
        now = time.monotonic()
        if self._days is not None and (not self._swept or now - self._swept > _HOUR):
            self._swept = now
            self._database.expire(self._days)
        return self._database
