"""What an image of Ollama's says before its user does: a system message, and turns of an example conversation."""

from __future__ import annotations

from collections.abc import Callable

from freehold.store.ollama.image import Image, Layer

LONGEST_SYSTEM = 1 << 16  # characters; it is read with every chat


def system_message(found: Image, text: Callable[[Layer], str]) -> tuple[str, tuple[str, ...]]:
    """The system message for requests that bring none ("" for none), and what is not used; `text` reads a small layer."""
    notes: tuple[str, ...] = ()
    if found.first("messages") is not None:
        notes = ("Its example conversation is not used; send one with the request.",)
    layer = found.first("system")
    said = text(layer) if layer is not None else ""
    if len(said) > LONGEST_SYSTEM:
        return "", (*notes, f"Its system message has more than {LONGEST_SYSTEM:,} characters and is not used.")
    return said if said.strip() else "", notes
