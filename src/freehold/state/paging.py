"""Lists as OpenAI pages them: from after an id, up to a limit, in either order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from freehold.errors import InvalidRequest


@dataclass(frozen=True)
class Page:
    after: str | None = None
    limit: int = 20
    order: Literal["asc", "desc"] = "desc"


def page_of(rows: Sequence[Mapping[str, Any]], page: Page) -> dict[str, Any]:
    """The part of `rows`, which are in ascending order, that was asked for. Raises InvalidRequest for an `after` that is not
    among them."""
    listed = list(rows) if page.order == "asc" else list(reversed(rows))
    if page.after is not None:
        places = [place for place, row in enumerate(listed) if row["id"] == page.after]
        if not places:
            raise InvalidRequest("No such item in this list.", param="after", code="invalid_value")
        listed = listed[places[0] + 1 :]
    shown = listed[: page.limit]
    ends = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
    return {"object": "list", "data": shown, **ends, "has_more": len(listed) > len(shown)}
