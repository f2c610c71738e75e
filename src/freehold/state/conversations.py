"""Conversations: items in their order, which responses read and add to."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from freehold.errors import NotFound
from freehold.state.items import Item, add, dump, read
from freehold.state.items import remove as remove_items
from freehold.state.tables import conversations, items


def create(connection: Connection, owner: str, identity: str, labels: Mapping[str, str], first: Sequence[Item]) -> Item:
    now = int(time.time())
    row = {"id": identity, "owner": owner, "created_at": now, "changed_at": now, "labels": dump(labels)}
    connection.execute(insert(conversations).values(row))
    append(connection, owner, identity, first)
    return _told(identity, now, labels)


def load(connection: Connection, owner: str, identity: str) -> Item:
    """Raises NotFound."""
    found = connection.execute(
        select(conversations.c.created_at, conversations.c.labels).where(*_mine(owner, identity))
    ).one_or_none()
    if found is None:
        raise missing(identity)
    return _told(identity, found.created_at, json.loads(found.labels))


def relabel(connection: Connection, owner: str, identity: str, labels: Mapping[str, str]) -> Item:
    changed = {"labels": dump(labels), "changed_at": int(time.time())}
    connection.execute(update(conversations).where(*_mine(owner, identity)).values(changed))
    return load(connection, owner, identity)


def remove(connection: Connection, owner: str, identity: str) -> None:
    """Deletes a conversation with its items; responses keep theirs. Raises NotFound."""
    if not connection.execute(delete(conversations).where(*_mine(owner, identity))).rowcount:
        raise missing(identity)
    remove_items(connection, identity)


def append(connection: Connection, owner: str, identity: str, new: Sequence[Item]) -> bool:
    """Adds items at the end, where the conversation is still there; its row is held meanwhile, so that two who add at once
    do so one after the other."""
    held = update(conversations).where(*_mine(owner, identity)).values(changed_at=int(time.time()))
    if not connection.execute(held).rowcount:
        return False
    add(connection, owner, identity, new)
    return True


def extend(connection: Connection, owner: str, identity: str, new: Sequence[Item]) -> None:
    """As `append`, for who asks for no more than that. Raises NotFound."""
    if not append(connection, owner, identity, new):
        raise missing(identity)


def listed(connection: Connection, owner: str, identity: str) -> list[Item]:
    """All items, in their order. Raises NotFound."""
    load(connection, owner, identity)
    return read(connection, identity)


def item(connection: Connection, owner: str, identity: str, wanted: str) -> Item:
    """Raises NotFound."""
    load(connection, owner, identity)
    found = connection.execute(select(items.c.body).where(items.c.holder == identity, items.c.id == wanted)).scalars().first()
    if found is None:
        raise _no_item(wanted)
    value: Item = json.loads(found)
    return value


def remove_item(connection: Connection, owner: str, identity: str, wanted: str) -> Item:
    """Deletes one item; returns the conversation. Raises NotFound."""
    told = load(connection, owner, identity)
    if not connection.execute(delete(items).where(items.c.holder == identity, items.c.id == wanted)).rowcount:
        raise _no_item(wanted)
    return told


def expire(connection: Connection, before: int) -> None:
    old = select(conversations.c.id).where(conversations.c.changed_at < before)
    connection.execute(delete(items).where(items.c.holder.in_(old)))
    connection.execute(delete(conversations).where(conversations.c.id.in_(old)))


def missing(identity: str) -> NotFound:
    return NotFound(f"Conversation with id {identity[:80]!r} not found.", param="conversation", code="conversation_not_found")


def _no_item(identity: str) -> NotFound:
    return NotFound(f"Item with id {identity[:80]!r} not found in this conversation.", param="item_id", code="item_not_found")


def _mine(owner: str, identity: str) -> tuple[Any, Any]:
    return conversations.c.id == identity, conversations.c.owner == owner


def _told(identity: str, created: int, labels: Mapping[str, str]) -> Item:
    return {"id": identity, "object": "conversation", "created_at": created, "metadata": labels}
