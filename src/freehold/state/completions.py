"""Chat completions that were stored, with the messages they answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, or_, select

from freehold.errors import InvalidRequest, NotFound
from freehold.state.items import dump
from freehold.state.paging import Page
from freehold.state.tables import completions, labels

Body = dict[str, Any]


def save(
    connection: Connection, owner: str, body: Mapping[str, Any], metadata: Mapping[str, str], messages: Sequence[Body]
) -> None:
    row = {"id": body["id"], "owner": owner, "created_at": body["created"], "model": body["model"]}
    connection.execute(insert(completions).values(row | {"body": dump(body), "messages": dump(messages)}))
    _label(connection, body["id"], metadata)


def load(connection: Connection, owner: str, identity: str) -> Body:
    """Raises NotFound."""
    found = connection.execute(select(completions.c.body).where(*_mine(owner, identity))).scalar()
    if found is None:
        raise _missing(identity)
    return _told(connection, identity, found)


def listed(connection: Connection, owner: str, page: Page, model: str | None, metadata: Mapping[str, str]) -> Body:
    """A page of completions, by when they were made. Raises InvalidRequest for an `after` that is not there."""
    wanted = select(completions.c.id, completions.c.body).where(completions.c.owner == owner)
    if model is not None:
        wanted = wanted.where(completions.c.model == model)
    for name, value in metadata.items():
        own = (labels.c.completion == completions.c.id) & (labels.c.name == _text(name)) & (labels.c.value == _text(value))
        wanted = wanted.where(exists().where(own))
    rising = page.order == "asc"
    if page.after is not None:
        at = connection.execute(select(completions.c.created_at).where(*_mine(owner, page.after))).scalar()
        if at is None:
            raise InvalidRequest("No such completion.", param="after", code="invalid_value")
        made, identity = completions.c.created_at, completions.c.id
        later = made > at if rising else made < at
        same = (made == at) & (identity > page.after if rising else identity < page.after)
        wanted = wanted.where(or_(later, same))
    order = (
        (completions.c.created_at, completions.c.id) if rising else (completions.c.created_at.desc(), completions.c.id.desc())
    )
    rows = connection.execute(wanted.order_by(*order).limit(page.limit + 1)).all()
    shown = [_told(connection, row.id, row.body) for row in rows[: page.limit]]
    ends = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
    return {"object": "list", "data": shown, **ends, "has_more": len(rows) > page.limit}


def relabel(connection: Connection, owner: str, identity: str, metadata: Mapping[str, str]) -> Body:
    """Raises NotFound."""
    load(connection, owner, identity)
    connection.execute(delete(labels).where(labels.c.completion == identity))
    _label(connection, identity, metadata)
    return load(connection, owner, identity)


def remove(connection: Connection, owner: str, identity: str) -> None:
    """Raises NotFound."""
    if not connection.execute(delete(completions).where(*_mine(owner, identity))).rowcount:
        raise _missing(identity)
    connection.execute(delete(labels).where(labels.c.completion == identity))


def messages(connection: Connection, owner: str, identity: str) -> list[Body]:
    """What the completion answered. Raises NotFound."""
    found = connection.execute(select(completions.c.messages).where(*_mine(owner, identity))).scalar()
    if found is None:
        raise _missing(identity)
    value: list[Body] = json.loads(found)
    return value


def expire(connection: Connection, before: int) -> None:
    old = select(completions.c.id).where(completions.c.created_at < before)
    connection.execute(delete(labels).where(labels.c.completion.in_(old)))
    connection.execute(delete(completions).where(completions.c.id.in_(old)))


def _told(connection: Connection, identity: str, body: str) -> Body:
    rows = connection.execute(select(labels.c.name, labels.c.value).where(labels.c.completion == identity))
    return {**json.loads(body), "metadata": {row.name: row.value for row in rows}}


def _label(connection: Connection, identity: str, metadata: Mapping[str, str]) -> None:
    named = {_text(name): _text(value) for name, value in metadata.items()}
    rows = [{"completion": identity, "name": name, "value": value} for name, value in named.items()]
    if rows:
        connection.execute(insert(labels), rows)


def _text(value: str) -> str:
    """PostgreSQL has no NUL in its texts."""
    return value.replace("\0", "\ufffd")


def _mine(owner: str, identity: str) -> tuple[Any, Any]:
    return completions.c.id == identity, completions.c.owner == owner


def _missing(identity: str) -> NotFound:
    return NotFound(f"Completion with id {identity[:80]!r} not found.", param="completion_id", code="completion_not_found")
