"""Which voices are the same: those of one chunk of a recording, and those that were heard before."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Voice = NDArray[np.float32]


class Voices:
    """Names the voices of a recording: as they are known, else A, B, … in the order in which they come. Two voices are the same
    from a cosine of `alike` on."""

    def __init__(self, known: Mapping[str, Voice], alike: float):
        self._alike = alike
        self._known = {name: _unit(voice) for name, voice in known.items()}
        self._heard: dict[str, Voice] = {}  # the sum of what was heard of each
        self._names = (name for name in _letters() if name not in known)

    def name(self, voices: Sequence[Voice | None]) -> list[str]:
        """The names of a chunk's voices. One of which too little was heard is given to the voice before it."""
        names: list[str] = []
        for voice in voices:
            if voice is None:
                names.append(names[-1] if names else self._new(None))
            else:
                names.append(self._nearest(_unit(voice)) or self._new(_unit(voice)))
        return names

    def _nearest(self, voice: Voice) -> str | None:
        everybody = {**self._known, **{name: _unit(heard) for name, heard in self._heard.items()}}
        likeness = {name: float(voice @ other) for name, other in everybody.items()}
        best = max(likeness, key=lambda name: likeness[name], default=None)
        if best is None or likeness[best] < self._alike:
            return None
        if best in self._heard:
            self._heard[best] = self._heard[best] + voice
        return best

    def _new(self, voice: Voice | None) -> str:
        name = next(self._names)
        if voice is not None:
            self._heard[name] = voice
        return name


def _unit(voice: Voice) -> Voice:
    length = float(np.linalg.norm(voice))
    return voice / np.float32(length) if length > 0 else voice


def _letters() -> Iterator[str]:
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_uppercase, repeat=length))
