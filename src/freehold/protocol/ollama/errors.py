"""Ollama's error envelope."""

from __future__ import annotations

from typing import Any

from freehold.errors import FreeholdError


def envelope(error: FreeholdError, identity: str = "") -> dict[str, Any]:
    """{"error": the sentence}."""
    return {"error": error.sentence}
