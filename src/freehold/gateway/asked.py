"""What every request for a model asks beside its content: its turn, how long its model stays, and what of it is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from starlette.requests import Request

from freehold.protocol.requests.common import Request as BodyRequest
from freehold.routing.catalog import Entry
from freehold.routing.queue import Priority
from freehold.routing.scheduler import Terms
from freehold.routing.seat import lasting


def terms_of(request: Request, value: BodyRequest, entry: Entry, *, need: int = 1, usual: Priority = "interactive") -> Terms:
    """Turns go round among the callers' addresses and, from one address, among the users that they name."""
    caller = request.client.host if request.client else ""
    stay = entry.stay if value.keep_alive is None else replace(entry.stay, keep_alive=lasting(value.keep_alive))
    return Terms(need, f"{caller} {value.tenant}", "batch" if value.patient else usual, stay)


def ignored(names: Iterable[str]) -> dict[str, str]:
    """The header that names the fields that were left out, if there are any."""
    shown = re.sub(r"[^ -~]", "?", ", ".join(names))[:500]  # a client's own words, in a header
    return {"x-freehold-ignored": shown} if shown else {}
