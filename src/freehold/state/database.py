"""The database: opened and migrated when it is first needed, written off the event loop, durable before anything is told.

SQLite by default (a write-ahead log, synced with every commit), PostgreSQL by its address. A database is for one server.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from freehold.errors import SettingsError, StateUnavailable
from freehold.state import completions, conversations, responses
from freehold.state.migrations import HEAD, KNOWN
from freehold.telemetry import log

_DAY = 86_400
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
T = TypeVar("T")


def address(url: str, folder: Path) -> URL:
    """Where the database is: as the setting says, or a file in the data folder. Raises SettingsError."""
    if not url:
        return URL.create("sqlite", database=str(folder / "stored.db"))
    try:
        found = make_url(url)
    except ArgumentError:
        raise SettingsError("The setting state.url is no address of a database.", "Try postgresql://user@host/name.") from None
    kind = found.drivername.partition("+")[0]
    if kind in ("postgresql", "postgres"):
        return found.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and found.database:
        return found.set(drivername="sqlite")
    raise SettingsError(f"The setting state.url names a {kind} database.", "Use sqlite:///PATH or postgresql://…")


class Database:
    """The open database, and the modules that know its tables. Opening it raises SettingsError, StateUnavailable."""

    responses = responses
    conversations = conversations
    completions = completions

    def __init__(self, url: URL):
        self._engine = _engine(url)
        try:
            with self._engine.begin() as connection:
                _migrate(connection)
                responses.abandon(connection)
        except (SQLAlchemyError, OSError) as error:
            self._engine.dispose()
            raise unavailable(error) from error

    def run(self, work: Callable[[Database, Connection], T]) -> T:
        """One transaction. Raises StateUnavailable, and what `work` raises."""
        try:
            with self._engine.begin() as connection:
                return work(self, connection)
        except (SQLAlchemyError, OSError) as error:
            raise unavailable(error) from error

    def erase(self) -> None:
        """What was deleted leaves SQLite's write-ahead log as well."""
        if self._engine.dialect.name == "sqlite":
            try:
                raw = self._engine.raw_connection()
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
                raw.close()
            except SQLAlchemyError as error:
                raise unavailable(error) from error

    def expire(self, days: float) -> None:
        """Deletes what is older than that: responses and completions by when they were made, conversations by their last
        change."""
        before = int(time.time() - days * _DAY)

        def work(database: Database, connection: Connection) -> None:
            for kind in (responses, completions, conversations):
                kind.expire(connection, before)

        self.run(work)
        self.erase()

    def close(self) -> None:
        self._engine.dispose()


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        return _sqlite(url)
    try:
        return create_engine(url, pool_pre_ping=True)
    except ImportError:
        raise SettingsError("PostgreSQL needs its driver.", "Install it: pip install 'psycopg[binary]'") from None


_KINDS = {"OperationalError": "it cannot be reached, or has ended the connection"}  # psycopg's own words name addresses


def unavailable(error: Exception) -> StateUnavailable:
    """What a client is told: no address or path, and no statement, which holds what was said. The log has more."""
    cause = getattr(error, "orig", None) or error
    log("the database of what is stored failed", level=40, reason=f"{type(cause).__name__}: {cause}"[:500])
    if isinstance(cause, sqlite3.Error):
        reason = str(cause)
    else:
        reason = (cause.strerror if isinstance(cause, OSError) else None) or _KINDS.get(
            type(cause).__name__, type(cause).__name__
        )
    if isinstance(cause, sqlite3.DatabaseError) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        reason += " (restore its file from a copy, or move it away and start anew)"
    return StateUnavailable(
        f'The database of what is stored does not answer: {reason}. Requests with "store": false need none.'
    )


def _sqlite(url: URL) -> Engine:
    """Only its owner may read the file, whatever the folder's mode; SQLite gives the files beside it the same."""
    path = str(url.database)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise unavailable(error) from error
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=1, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _(raw, record):  # type: ignore[no-untyped-def]
        raw.isolation_level = None  # SQLAlchemy's begin alone begins a transaction
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            raw.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection):  # type: ignore[no-untyped-def]
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(connection: Connection) -> None:
    """Brings the tables to the newest form, in the transaction that looks. Alembic is loaded only where there is work."""
    found = None
    if connection.dialect.has_table(connection, "alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise StateUnavailable("The database of what is stored was written by a newer Freehold; start that one.")
    if found is not None and found not in KNOWN:
        raise StateUnavailable("The database of what is stored is of no form that a Freehold has written; name another.")
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
