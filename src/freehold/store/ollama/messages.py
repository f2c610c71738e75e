"""What an image of Ollama's says before its user does: a system message, and turns of an example conversation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from freehold.store.manifest import Example
from freehold.store.ollama.image import Image, Layer

LONGEST_SYSTEM = 1 << 16  # characters; it is read with every chat
MOST_EXAMPLES = 256  # turns, of as many characters together as a system message


@dataclass(frozen=True)
class Before:
    """`system` is for requests that bring none, "" for none; `examples` stand before the conversation of each; `notes` name
    what is not used."""

    system: str = ""
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()


def said_before(found: Image, text: Callable[[Layer], str]) -> Before:
    """`text` reads a small layer."""
    notes: list[str] = []
    layer = found.first("system")
    system = text(layer) if layer is not None else ""
    if len(system) > LONGEST_SYSTEM:
        notes.append(f"Its system message has more than {LONGEST_SYSTEM:,} characters and is not used.")
        system = ""
    layer = found.first("messages")
    turns = examples(_json(text(layer))) if layer is not None else ()
    if turns is None:
        notes.append("Its example conversation cannot be read, or is too long, and is not used.")
    return Before(system if system.strip() else "", turns or (), tuple(notes))


def examples(turns: Any) -> tuple[Example, ...] | None:
    """Turns from [{"role", "content"}, …]; None for what is not that, or too much of it."""
    if not isinstance(turns, list) or len(turns) > MOST_EXAMPLES:
        return None
    made = []
    for turn in turns:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            return None
        made.append((role, content))
    return tuple(made) if sum(len(content) for _, content in made) <= LONGEST_SYSTEM else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
