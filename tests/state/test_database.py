"""The database itself: its tables, its owners, what a restart and a retention make of it, and what goes wrong with it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from freehold.errors import InvalidRequest, NotFound, SettingsError, StateUnavailable
from freehold.state import completions, conversations, responses, tables
from freehold.state.database import Database, address
from freehold.state.keeper import State
from freehold.state.migrations import HEAD, KNOWN
from freehold.state.paging import Page
from tests.state.servers import DATABASES, postgresql

GIVEN = [{"id": "msg_in", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
SAID = [{"id": "msg_out", "type": "message", "role": "assistant", "content": []}]


def response(identity: str = "resp_1", status: str = "completed", *, background: bool = False, **more: Any) -> dict[str, Any]:
    output = SAID if status == "completed" else []
    known = {"id": identity, "created_at": int(time.time()), "status": status, "background": background, "output": output}
    return known | more


def kept(owner: str = "ada", **more: Any) -> responses.Kept:
    return responses.Kept(owner, GIVEN, **more)


@pytest.fixture(params=DATABASES, scope="module")
def where(request, tmp_path_factory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('state')}/x.db"
    else:
        with postgresql() as url:
            yield url


@pytest.fixture
def db(where, tmp_path) -> Iterator[Database]:
    database = Database(address(where, tmp_path))
    yield database

    def empty(_, c):  # type: ignore[no-untyped-def]
        for table in tables.metadata.sorted_tables:
            c.execute(table.delete())

    database.run(empty)
    database.close()


def test_the_migrations_make_the_tables_and_the_last_is_known(db):
    config = Config()
    config.set_main_option("script_location", str(Path(responses.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]
    assert db.run(lambda _, c: compare_metadata(MigrationContext.configure(c), tables.metadata)) == []


def test_what_one_owner_stores_no_other_finds(db):
    def store(_, c):  # type: ignore[no-untyped-def]
        responses.save(c, kept(), response())
        conversations.create(c, "ada", "conv_1", {"a": "b"}, GIVEN)
        completions.save(c, "ada", {"id": "chat_1", "created": 1, "model": "m"}, {"a": "b"}, [])

    db.run(store)
    searches: list[Any] = [
        lambda _, c: responses.load(c, "bob", "resp_1"),
        lambda _, c: responses.remove(c, "bob", "resp_1"),
        lambda _, c: responses.given(c, "bob", "resp_1"),
        lambda _, c: responses.history(c, "bob", "resp_1"),
        lambda _, c: responses.end(c, "bob", "resp_1", {"status": "cancelled"}),
        lambda _, c: responses.find_items(c, "bob", ["msg_in"]),
        lambda _, c: conversations.load(c, "bob", "conv_1"),
        lambda _, c: conversations.relabel(c, "bob", "conv_1", {}),
        lambda _, c: conversations.listed(c, "bob", "conv_1"),
        lambda _, c: conversations.extend(c, "bob", "conv_1", GIVEN),
        lambda _, c: conversations.item(c, "bob", "conv_1", "msg_in"),
        lambda _, c: conversations.remove_item(c, "bob", "conv_1", "msg_in"),
        lambda _, c: conversations.remove(c, "bob", "conv_1"),
        lambda _, c: completions.load(c, "bob", "chat_1"),
        lambda _, c: completions.relabel(c, "bob", "chat_1", {}),
        lambda _, c: completions.messages(c, "bob", "chat_1"),
        lambda _, c: completions.remove(c, "bob", "chat_1"),
    ]
    for search in searches:
        with pytest.raises((NotFound, InvalidRequest), match="not found"):
            db.run(search)
    assert db.run(lambda _, c: completions.listed(c, "bob", Page(), None, {}))["data"] == []
    assert db.run(lambda _, c: completions.listed(c, "ada", Page(), None, {"a": "b"}))["data"][0]["id"] == "chat_1"
    assert db.run(lambda _, c: responses.load(c, "ada", "resp_1"))["output"] == SAID
    assert db.run(lambda _, c: conversations.load(c, "ada", "conv_1"))["metadata"] == {"a": "b"}


def test_what_a_server_left_unfinished_has_failed_when_the_next_one_starts(where, db, tmp_path):
    db.run(lambda _, c: responses.save(c, kept(), response("resp_q", "queued", background=True)))
    db.run(lambda _, c: responses.save(c, kept(), response("resp_p", "queued", background=True)))
    db.run(lambda _, c: responses.begin(c, "resp_p"))
    Database(address(where, tmp_path)).close()
    for identity in ("resp_q", "resp_p"):
        found = db.run(lambda _, c, identity=identity: responses.load(c, "ada", identity))
        assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
        assert "stopped" in found["error"]["message"]


def test_a_cancelled_response_stays_so_even_when_it_was_just_complete(db):
    db.run(lambda _, c: responses.save(c, kept(), response("resp_c", "queued", background=True)))
    db.run(lambda _, c: responses.end(c, "ada", "resp_c", {"status": "cancelled"}))
    db.run(lambda _, c: responses.save(c, kept(), response("resp_c", background=True)))
    found = db.run(lambda _, c: responses.load(c, "ada", "resp_c"))
    assert (found["status"], found["output"]) == ("cancelled", [])


def test_what_fails_changes_nothing(db):
    def half(_, c):  # type: ignore[no-untyped-def]
        responses.save(c, kept(), response("resp_h"))
        raise NotFound("no")

    with pytest.raises(NotFound):
        db.run(half)
    with pytest.raises(NotFound):
        db.run(lambda _, c: responses.load(c, "ada", "resp_h"))
    assert db.run(lambda _, c: c.execute(text("SELECT count(*) FROM items")).scalar()) == 0


def test_what_is_old_is_deleted(db):
    old = int(time.time()) - 3 * 86_400
    db.run(lambda _, c: responses.save(c, kept(), response("resp_old", created_at=old)))
    db.run(lambda _, c: responses.save(c, kept(), response("resp_new")))
    db.run(lambda _, c: completions.save(c, "ada", {"id": "chat_old", "created": old, "model": "m"}, {"a": "b"}, []))
    db.run(lambda _, c: conversations.create(c, "ada", "conv_new", {}, GIVEN))
    db.expire(2)
    assert db.run(lambda _, c: [row.id for row in c.execute(tables.responses.select())]) == ["resp_new"]
    assert db.run(lambda _, c: {row.holder for row in c.execute(tables.items.select())}) == {"resp_new", "conv_new"}
    assert db.run(lambda _, c: c.execute(tables.completions.select()).all() + c.execute(tables.labels.select()).all()) == []


async def test_a_server_with_a_retention_deletes_what_is_too_old_when_it_opens_its_database(tmp_path):
    database = Database(address("", tmp_path))
    old = int(time.time()) - 3 * 86_400
    database.run(lambda _, c: responses.save(c, kept(), response("resp_old", created_at=old)))
    database.close()
    for days, found in ((None, True), (4, True), (2, False)):
        state = State("", tmp_path, days)
        there = await state.run(lambda _, c: bool(c.execute(tables.responses.select()).all()))
        assert there == found
        await state.close()


def test_what_was_deleted_is_in_none_of_the_files(tmp_path):
    database = Database(address("", tmp_path))
    secret = [{**GIVEN[0], "content": [{"type": "input_text", "text": "xyzzy-secret"}]}]
    database.run(lambda _, c: responses.save(c, responses.Kept("ada", secret), response()))
    assert any(b"xyzzy-secret" in path.read_bytes() for path in tmp_path.iterdir())
    database.run(lambda _, c: responses.remove(c, "ada", "resp_1"))
    database.erase()
    assert not any(b"xyzzy-secret" in path.read_bytes() for path in tmp_path.iterdir())
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    database.close()


def test_sqlite_syncs_its_log_with_every_commit(tmp_path):
    database = Database(address("", tmp_path))
    pragmas = database.run(
        lambda _, c: [c.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
    )
    assert pragmas == ["wal", 2]
    database.close()


@pytest.mark.parametrize("url", ["nothing", "mysql://x/y", "sqlite://", "http://x"])
def test_an_address_of_no_database_is_refused(url, tmp_path):
    with pytest.raises(SettingsError, match=r"state\.url"):
        address(url, tmp_path)


async def test_a_database_that_does_not_open_is_told_without_its_address(tmp_path):
    (tmp_path / "stored.db").write_bytes(b"this is no database" * 100)
    broken: Any = [State("", tmp_path, None), State("", tmp_path / "missing", None)]
    broken.append(State(f"postgresql://freehold:hunter2@/x?host={tmp_path}", tmp_path, None))
    for state in broken:
        with pytest.raises(StateUnavailable) as caught:
            await state.run(lambda _, c: None)
        assert "hunter2" not in caught.value.sentence
        assert caught.value.status == 503
        await state.close()
    assert "cannot be reached" in caught.value.sentence  # the last one


async def test_a_newer_database_is_left_alone(tmp_path):
    Database(address("", tmp_path)).close()
    with sqlite3.connect(tmp_path / "stored.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    state = State("", tmp_path, None)
    with pytest.raises(StateUnavailable, match="newer"):
        await state.run(lambda _, c: None)
    await state.close()


def sqlite(folder: Path) -> Path:
    """The file of a database with something stored in it."""
    database = Database(address("", folder))
    database.run(lambda db, connection: responses.save(connection, kept(), response()))
    database.close()
    return folder / "stored.db"


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    path = sqlite(tmp_path)
    whole = path.read_bytes()
    for damaged in (b"garbage" * 1000, whole[: len(whole) // 2 + 7]):
        path.write_bytes(damaged)
        with pytest.raises(StateUnavailable, match="restore its file from a copy, or move it away and start anew"):
            Database(address("", tmp_path)).run(lambda db, connection: None)
    path.write_bytes(whole)
    Database(address("", tmp_path)).close()


@pytest.mark.parametrize(
    ("version", "word"), [("9999", "a newer Freehold"), ("0000", "of no form that a Freehold has written")]
)
def test_a_form_that_is_not_known_is_left_alone(tmp_path: Path, version: str, word: str) -> None:
    path = sqlite(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    before = path.read_bytes()
    with pytest.raises(StateUnavailable, match=word):
        Database(address("", tmp_path))
    assert path.read_bytes() == before


def test_every_migration_is_known() -> None:
    folder = Path(tables.__file__).parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    assert {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()} == KNOWN
