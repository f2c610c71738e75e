"""What is being said, heard as it comes by a model that can: a stream for each piece of speech, fed while it goes on.

When the piece is complete, only its end is still to be heard.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from freehold.protocol.transcripts import Segment, joined
from freehold.workers.transcription.agreement import Agreement
from freehold.workers.transcription.cutting import Piece
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Asked, Stream
from freehold.workers.transcription.listener import Listener, Open
from freehold.workers.transcription.recognise import Recogniser
from freehold.workers.transcription.threads import Urgency
from freehold.workers.transcription.vad import Samples

_STEP = RATE // 10  # samples that are fed at a time, at least
_BEYOND = 2 * RATE  # samples fed beyond a piece's end from which there may be speech in them that is of another


@dataclass
class _Piece:
    """A stream for what is said from `start` on; `given` is the sample after the last that it was given."""

    stream: Stream
    start: int
    given: int
    _waiting: deque[Samples] = field(default_factory=deque)
    _turn: threading.Lock = field(default_factory=threading.Lock)  # a stream is for one thread at a time
    _over: bool = False

    def give(self, samples: Samples) -> None:
        self._waiting.append(samples)
        self.given += len(samples)

    def hear(self) -> str:
        """All that was heard of what was given; nothing after the end, which comes first where it is more urgent."""
        with self._turn:
            return "" if self._over else self._hear()

    def finish(self, piece: Piece) -> Segment:
        with self._turn:
            self._hear()
            self._over = True
            return Segment(self.stream.finish().text.strip(), piece.start, piece.end)

    def _hear(self) -> str:
        while self._waiting:
            self.stream.feed(self._waiting.popleft())
        return self.stream.feed(np.zeros(0, np.float32)).strip()


class Streamed:
    """For one client. `tell` sends what is new."""

    def __init__(self, recogniser: Recogniser, tell: Callable[[str], Awaitable[None]], tasks: asyncio.TaskGroup):
        self._recogniser = recogniser
        self._tell = tell
        self._tasks = tasks
        self._feeding: asyncio.Task[None] | None = None
        self._agreed = Agreement()
        self._piece: _Piece | None = None

    def submit(self, piece: Piece, asked: Asked) -> concurrent.futures.Future[Segment]:
        """Hears the end of a piece that is complete, or all of it where its stream has not begun or has heard too much."""
        open_, self._piece = self._piece, None
        start = round(piece.offset * RATE)
        end = start + len(piece.samples)
        if open_ is None or not start - RATE < open_.start < start + RATE or open_.given > end + _BEYOND:
            return self._recogniser.submit(piece, asked, Urgency.SPOKEN)
        open_.give(piece.samples[max(0, open_.given - start) :])
        return self._recogniser.run(Urgency.SPOKEN, lambda: open_.finish(piece))

    def restart(self) -> Agreement:
        """Begins with another turn. Gives what was told of the last one."""
        agreed, self._agreed, self._piece = self._agreed, Agreement(), None
        return agreed

    def offer(self, listener: Listener) -> None:
        """More was said."""
        said = listener.open
        if said is None or (self._feeding and not self._feeding.done()) or not all(piece.done() for piece in said.pieces):
            return
        if self._piece is None:
            self._piece = _Piece(Stream(self._recogniser.model.engine), said.start, said.start)
        piece = self._piece
        if said.end - piece.given < _STEP:
            return
        piece.give(listener.read(piece.given, said.end))
        self._feeding = self._tasks.create_task(self._hear(said, piece), name="stream")

    def stop(self) -> None:
        if self._feeding:
            self._feeding.cancel()

    async def _hear(self, said: Open, piece: _Piece) -> None:
        agreed = self._agreed
        text = await asyncio.wrap_future(self._recogniser.run(Urgency.SPEAKING, piece.hear))
        whole = joined((*(each.result().text for each in said.pieces), text))
        if self._agreed is agreed and self._piece is piece:
            await self._tell(agreed.follow(whole))
