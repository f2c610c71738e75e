"""What a voice engine is to the rest of this worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

# Takes a piece of audio (mono, 16 bits, little-endian) and says whether to go on.
Emit = Callable[[bytes], bool]


class Engine(Protocol):
    """`rate` is in samples a second. One text at a time is spoken, whoever asks."""

    rate: int

    def speak(self, text: str, speaker: Any, speed: float, emit: Emit) -> None:
        """Speaks a sentence or so; blocks. `speaker` is the engine's own name of a voice. Raises EngineFailed."""


class EngineFailed(Exception):
    """The engine could not speak a text."""
