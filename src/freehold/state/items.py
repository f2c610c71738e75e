"""Items in their order, of a response or of a conversation, and how any JSON is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from freehold.state.tables import items

Item = dict[str, Any]


def add(connection: Connection, owner: str, holder: str, new: Sequence[Item]) -> None:
    """Items behind those that `holder` has."""
    last = connection.execute(select(func.max(items.c.position)).where(items.c.holder == holder)).scalar()
    write(connection, owner, holder, new, place=0 if last is None else last + 1)


def write(connection: Connection, owner: str, holder: str, new: Sequence[Item], *, place: int, answers: int = 0) -> None:
    """Items at a place and on, the last of which are a number of answers."""
    first = len(new) - answers
    rows = [
        {"holder": holder, "position": place + n, "id": item["id"], "owner": owner, "answer": n >= first, "body": dump(item)}
        for n, item in enumerate(new)
    ]
    if rows:
        connection.execute(insert(items), rows)


def read(connection: Connection, holder: str, *, answer: bool | None = None) -> list[Item]:
    wanted = select(items.c.body).where(items.c.holder == holder).order_by(items.c.position)
    if answer is not None:
        wanted = wanted.where(items.c.answer.is_(answer))
    return [json.loads(body) for body in connection.execute(wanted).scalars()]


def remove(connection: Connection, holder: str) -> None:
    connection.execute(delete(items).where(items.c.holder == holder))


def dump(value: object) -> str:
    """As JSON that any database takes: half a surrogate pair is no text, though a model may write one."""
    made = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return made if made.isascii() else made.encode("utf-8", "replace").decode()
