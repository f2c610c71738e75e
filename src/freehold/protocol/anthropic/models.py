"""Models as Anthropic's clients read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def model_info(card: Mapping[str, Any]) -> dict[str, Any]:
    """Anthropic's description of a model, beside the fields of OpenAI's, which `card` is."""
    created = datetime.fromtimestamp(card["created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = {"type": "model", "display_name": card["id"], "created_at": created, "lifecycle": "active"}
    return {**card, **named, "max_tokens": card["max_output_tokens"], "capabilities": None}


def model_page(cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All models as one page."""
    rows = [model_info(card) for card in cards]
    ends = {"first_id": rows[0]["id"] if rows else None, "last_id": rows[-1]["id"] if rows else None}
    return {"data": rows, "has_more": False, **ends}
