"""One text being spoken: a thread synthesises and encodes, the event loop takes what it makes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from freehold.protocol.voices import Voice
from freehold.workers.speech.encode import Encoder
from freehold.workers.speech.engine import Engine, EngineFailed

_AHEAD = 256 * 1024  # bytes that may wait for the client before the next sentence is spoken


@dataclass(frozen=True)
class Speech:
    """What is to be spoken: texts of a sentence or so each."""

    texts: Iterable[str]
    voice: Voice
    speed: float


class Speaking:
    """`run` belongs to the thread, everything else to the event loop that made it."""

    def __init__(self, engine: Engine, speech: Speech, encoder: Encoder):
        self._engine = engine
        self._speech = speech
        self._encoder = encoder
        self._loop = asyncio.get_running_loop()
        self._made: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0  # bytes made and not yet taken
        self._room = threading.Condition()
        self._stopped = False
        self.samples = 0

    def stop(self) -> None:
        """Ends the synthesis within a piece of audio, in the middle of a sentence if need be."""
        with self._room:
            self._stopped = True
            self._room.notify()

    async def next(self) -> bytes:
        """The next encoded bytes; b"" at the end."""
        while (piece := await self._made.get()) is not None:
            with self._room:
                self._waiting -= len(piece)
                self._room.notify()
            if piece:
                return piece
        return b""

    def run(self) -> None:
        """Raises EngineFailed, after what was made before."""
        try:
            for text in self._speech.texts:
                self._engine.speak(text, self._speech.voice, self._speech.speed, self._emit)
                if not self._may_go_on():
                    return
            if not self.samples:
                raise EngineFailed("the engine made no sound")
            self._give(self._encoder.end())
        finally:
            self._loop.call_soon_threadsafe(self._made.put_nowait, None)

    def _emit(self, pcm: bytes) -> bool:
        if not self._stopped:
            self.samples += len(pcm) // 2
            self._give(self._encoder.feed(pcm))
        return not self._stopped

    def _give(self, piece: bytes) -> None:
        if piece:
            with self._room:
                self._waiting += len(piece)
            self._loop.call_soon_threadsafe(self._made.put_nowait, piece)

    def _may_go_on(self) -> bool:
        """Waits until the client has taken most of what there is."""
        with self._room:
            self._room.wait_for(lambda: self._stopped or self._waiting < _AHEAD)
            return not self._stopped
