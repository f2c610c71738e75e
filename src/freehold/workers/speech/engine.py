"""What a voice engine is to the rest of this worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from freehold.protocol.voices import Voice

# Takes a piece of audio (mono, 16 bits, little-endian) and says whether to go on.
Emit = Callable[[bytes], bool]


class Engine(Protocol):
    """`rate` is in samples a second, `longest` the characters that are spoken at a time: what a client that leaves waits for
    at most where the engine cannot be stopped within."""

    rate: int
    longest: int

    def speak(self, text: str, voice: Voice, speed: float, emit: Emit) -> None:
        """Speaks a sentence or so; blocks. Raises EngineFailed."""


class EngineFailed(Exception):
    """The engine could not speak a text."""
