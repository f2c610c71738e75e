"""What is being said, told before it ends: it is recognised again and again while it grows, as far as there is time for that.

A model that hears a whole piece at once has no words until it is complete. So what there is of it is recognised as if it were,
and the words on which two such attempts agree are told.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from freehold.protocol.transcripts import Segment, joined
from freehold.workers.transcription.agreement import Agreement
from freehold.workers.transcription.cutting import Piece, quietest
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Asked
from freehold.workers.transcription.listener import Listener, Open
from freehold.workers.transcription.recognise import Recogniser
from freehold.workers.transcription.threads import Urgency
from freehold.workers.transcription.vad import Samples

_LEAST = int(0.8 * RATE)  # samples of the first attempt: with less, models guess
_STEP = int(0.4 * RATE)  # samples more of each that follows: with less, two attempts make the same mistake
_MOST = 8 * RATE  # samples of an attempt: what is before them is not recognised again
_REST = 2  # times as long as an attempt works, none is made after it
_SLOW = 1.0  # seconds of work that keep others waiting too long ...
_SLOW_REST = 20  # ... and are followed by more rest


@dataclass
class _Window:
    """From which sample on is recognised, and what was heard before it, after so many pieces that are complete."""

    pieces: int
    start: int
    before: str = ""


class Interim:
    """For one client. `gate` is shared with the others: as many attempts as it has places are made at a time, however many
    speak. `tell` sends what is sure and new."""

    def __init__(
        self,
        recogniser: Recogniser,
        gate: asyncio.Semaphore,
        tell: Callable[[str], Awaitable[None]],
        tasks: asyncio.TaskGroup,
    ):
        self._recogniser = recogniser
        self._gate = gate
        self._tell = tell
        self._tasks = tasks
        self._attempt: asyncio.Task[None] | None = None
        self._due = 0.0  # of the monotonic clock
        self._begin()

    def submit(self, piece: Piece, asked: Asked) -> concurrent.futures.Future[Segment]:
        """Begins to recognise a piece that is complete."""
        return self._recogniser.submit(piece, asked, Urgency.SPOKEN)

    def restart(self) -> Agreement:
        """Begins with another turn. Gives what was told of the last one."""
        agreed = self._agreed
        self._begin()
        return agreed

    def _begin(self) -> None:
        self._agreed = Agreement()
        self._window: _Window | None = None
        self._heard = 0  # the sample after the last that was in an attempt

    def offer(self, listener: Listener) -> None:
        """More was said; an attempt begins if it is time for one."""
        said = listener.open if listener.deltas else None
        if said is None or self._gate.locked() or time.monotonic() < self._due:
            return
        if (self._attempt and not self._attempt.done()) or not all(piece.done() for piece in said.pieces):
            return
        if self._window is None or self._window.pieces != len(said.pieces):
            self._window = _Window(len(said.pieces), said.start)
        window = self._window
        if said.end < max(self._heard + _STEP, window.start + _LEAST):
            return
        self._heard = said.end
        samples = listener.read(window.start, said.end)
        self._attempt = self._tasks.create_task(self._try(listener, said, window, samples), name="interim")

    def stop(self) -> None:
        if self._attempt:
            self._attempt.cancel()

    async def _try(self, listener: Listener, said: Open, window: _Window, samples: Samples) -> None:
        agreed = self._agreed
        async with self._gate:
            closing = len(samples) > _MOST
            if closing:
                samples = samples[: quietest(samples, 2 * RATE, len(samples) - 2 * RATE)]
            piece = Piece(0, len(samples) / RATE, 0, samples)
            segment, work = await asyncio.wrap_future(self._recogniser.attempt(piece, listener.asked))
            text = joined((window.before, segment.text))
        self._due = time.monotonic() + work * (_REST if work < _SLOW else _SLOW_REST)
        if closing:
            window.before, window.start = text, window.start + len(samples)
        if self._agreed is agreed and (new := agreed.hear(joined((*(each.result().text for each in said.pieces), text)))):
            await self._tell(new)
