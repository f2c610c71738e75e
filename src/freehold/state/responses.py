"""Stored responses: each with the items it was given and those it answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from freehold.errors import InvalidRequest, NotFound
from freehold.state import conversations, items, tables
from freehold.state.tables import responses

UNFINISHED = ("queued", "in_progress")
_LONGEST = 1000  # responses that one may go on from in a row
_LOST = {
    "code": "server_error",
    "message": "The server was stopped before this response was finished. Ask for it again.",
}

Item = items.Item


@dataclass(frozen=True)
class Kept:
    """What is to be stored of a response: its object, its own input, and the conversation it belongs to."""

    owner: str
    given: Sequence[Item]
    previous: str | None = None
    conversation: str | None = None
    stored: bool = True


def save(connection: Connection, kept: Kept, response: Mapping[str, Any]) -> None:
    """Stores a response that is finished, or one that has begun in the background; its items also in its conversation.
    A background response that was deleted or cancelled meanwhile stays so."""
    finished = response["status"] not in UNFINISHED
    if kept.stored and not _put(connection, kept, response):
        return
    if finished and kept.conversation is not None and response["status"] != "failed":
        conversations.append(connection, kept.owner, kept.conversation, [*kept.given, *response["output"]])


def _put(connection: Connection, kept: Kept, response: Mapping[str, Any]) -> bool:
    identity, output = response["id"], response["output"]
    row = {"status": response["status"], "body": items.dump({**response, "output": []})}
    if response["background"] and response["status"] != "queued":
        known = (responses.c.id == identity) & responses.c.status.in_(UNFINISHED)
        if not connection.execute(update(responses).where(known).values(row)).rowcount:
            return False
        items.write(connection, kept.owner, identity, output, place=len(kept.given), answers=len(output))
        return True
    fixed = {"id": identity, "owner": kept.owner, "created_at": response["created_at"], "previous_id": kept.previous}
    connection.execute(insert(responses).values(row | fixed))
    items.write(connection, kept.owner, identity, [*kept.given, *output], place=0, answers=len(output))
    return True


def load(connection: Connection, owner: str, identity: str) -> dict[str, Any]:
    """A response as it is told. Raises NotFound."""
    found = connection.execute(select(responses.c.body).where(responses.c.id == identity, responses.c.owner == owner)).scalar()
    if found is None:
        raise _missing(identity)
    return {**json.loads(found), "output": items.read(connection, identity, answer=True)}


def remove(connection: Connection, owner: str, identity: str) -> None:
    """Deletes a response and its items; a conversation keeps its own. Raises NotFound."""
    mine = (responses.c.id == identity) & (responses.c.owner == owner)
    if not connection.execute(delete(responses).where(mine)).rowcount:
        raise _missing(identity)
    items.remove(connection, identity)


def begin(connection: Connection, identity: str) -> None:
    """A queued response is being made now."""
    found = connection.execute(
        select(responses.c.body).where(responses.c.id == identity, responses.c.status == "queued")
    ).scalar()
    if found is not None:
        _write(connection, {**json.loads(found), "status": "in_progress"})


def end(connection: Connection, owner: str, identity: str, ending: Mapping[str, Any]) -> dict[str, Any]:
    """Ends a background response that is not finished with these fields. Returns the response as it then is."""
    response = load(connection, owner, identity)
    if response["status"] in UNFINISHED:
        response |= ending
        _write(connection, response)
    return response


def given(connection: Connection, owner: str, identity: str) -> list[Item]:
    """All that a response was given, those items first that came from the responses it went on from. Raises NotFound."""
    load(connection, owner, identity)
    earlier = _chain(connection, owner, _previous(connection, identity))
    return [*_history(connection, earlier), *items.read(connection, identity, answer=False)]


def history(connection: Connection, owner: str, identity: str) -> list[Item]:
    """What a response that goes on from this one reads before its own input. Raises InvalidRequest where it is not there, or
    not finished."""
    try:
        status = load(connection, owner, identity)["status"]
    except NotFound:
        raise InvalidRequest(
            f"Previous response with id {identity[:80]!r} not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        ) from None
    if status not in ("completed", "incomplete"):
        raise InvalidRequest(
            f"The response {identity!r} is {status}; only one that has ended can be gone on from.",
            param="previous_response_id",
            code="invalid_value",
        )
    return _history(connection, _chain(connection, owner, identity))


def find_items(connection: Connection, owner: str, wanted: Iterable[str]) -> dict[str, Item]:
    """Stored items by their ids. Raises NotFound for one that is not there."""
    held, names = tables.items, set(wanted)
    rows = connection.execute(select(held.c.id, held.c.body).where(held.c.owner == owner, held.c.id.in_(names)))
    found = {identity: json.loads(body) for identity, body in rows}
    for missing in sorted(names - found.keys()):
        raise NotFound(f'Item with id {missing[:80]!r} not found. It is stored only with "store": true.', param="input")
    return found


def abandon(connection: Connection) -> None:
    """Fails what a server that is no more left unfinished."""
    for identity, body in connection.execute(
        select(responses.c.id, responses.c.body).where(responses.c.status.in_(UNFINISHED))
    ).all():
        _write(connection, {**json.loads(body), "id": identity, "status": "failed", "error": _LOST})


def expire(connection: Connection, before: int) -> None:
    old = select(responses.c.id).where(responses.c.created_at < before, responses.c.status.not_in(UNFINISHED))
    connection.execute(delete(tables.items).where(tables.items.c.holder.in_(old)))
    connection.execute(delete(responses).where(responses.c.id.in_(old)))


def _write(connection: Connection, response: Mapping[str, Any]) -> None:
    row = {"status": response["status"], "body": items.dump({**response, "output": []})}
    connection.execute(update(responses).where(responses.c.id == response["id"]).values(row))


def _chain(connection: Connection, owner: str, identity: str | None) -> list[str]:
    """The responses that led to this one, the first of them first, itself last."""
    chain: list[str] = []
    while identity is not None:
        found = connection.execute(
            select(responses.c.previous_id).where(responses.c.id == identity, responses.c.owner == owner)
        ).one_or_none()
        if found is None:
            raise InvalidRequest(
                f"The response {identity!r}, which this conversation goes back to, was deleted.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        chain.append(identity)
        identity = found[0]
        if len(chain) > _LONGEST:
            raise InvalidRequest(f"This conversation goes back more than {_LONGEST:,} responses.", param="previous_response_id")
    return chain[::-1]


def _previous(connection: Connection, identity: str) -> str | None:
    found: str | None = connection.execute(select(responses.c.previous_id).where(responses.c.id == identity)).scalar()
    return found


def _history(connection: Connection, chain: Sequence[str]) -> list[Item]:
    return [item for identity in chain for item in items.read(connection, identity)]


def _missing(identity: str) -> NotFound:
    return NotFound(f"Response with id {identity[:80]!r} not found.", param="id", code="response_not_found")
