"""What is being said is recognised again and again, in bounds: how much at a time, how often, and by how many."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from freehold.protocol.transcripts import Segment
from freehold.workers.transcription import interim as module
from freehold.workers.transcription.cutting import Piece
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Asked
from freehold.workers.transcription.interim import Interim
from freehold.workers.transcription.listener import Open

WORD = RATE // 2  # samples; their values are their numbers


class Speech:
    """A listener to somebody who says a word each half second, without a pause, and the recogniser of it."""

    def __init__(self) -> None:
        self.end, self.deltas, self.asked = 0, True, Asked()
        self.pieces: tuple[Future[Segment], ...] = ()
        self.start = 0
        self.lengths: list[float] = []
        self.waiting: list[tuple[Future[tuple[Segment, float]], Segment]] = []
        self.at_once = True

    @property
    def open(self) -> Open:
        return Open(self.pieces, self.start, self.end)

    def read(self, start: int, end: int) -> np.ndarray:
        return np.arange(start, end, dtype=np.float64)

    def attempt(self, piece: Piece, asked: Asked) -> Future[tuple[Segment, float]]:
        self.lengths.append(len(piece.samples) / RATE)
        first, last = piece.samples[0], piece.samples[-1]
        heard = [number for number in range(10_000) if first <= number * WORD + WORD / 2 <= last]
        future: Future[tuple[Segment, float]] = Future()
        self.waiting.append((future, Segment(words(heard), 0, 0)))
        if self.at_once:
            self.answer()
        return future

    def answer(self, work: float = 0) -> None:
        for future, segment in self.waiting:
            future.set_result((segment, work))
        self.waiting.clear()


def words(numbers: Sequence[int]) -> str:
    return " ".join(f"w{number}" for number in numbers)


class Client:
    def __init__(self, speech: Speech, gate: asyncio.Semaphore, tasks: asyncio.TaskGroup):
        self.speech = speech
        self.told = ""
        recogniser: Any = types.SimpleNamespace(attempt=speech.attempt)
        self.interim = Interim(recogniser, gate, self._tell, tasks)

    async def _tell(self, text: str) -> None:
        self.told += text

    async def say(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.speech.end += RATE // 10
            listener: Any = self.speech
            self.interim.offer(listener)
            for _ in range(5):
                await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_a_long_utterance_is_told_word_for_word_and_never_heard_whole() -> None:
    async with asyncio.TaskGroup() as tasks:
        client = Client(Speech(), asyncio.Semaphore(1), tasks)
        await client.say(60)
        assert client.told.split() == [f"w{number}" for number in range(len(client.told.split()))]
        assert len(client.told.split()) >= 116
        assert max(client.speech.lengths) <= 8.5
        assert client.interim.restart().rest(words(range(120))) == words(range(120))[len(client.told) :]


async def test_it_begins_with_enough_and_goes_on_with_more() -> None:
    async with asyncio.TaskGroup() as tasks:
        client = Client(Speech(), asyncio.Semaphore(1), tasks)
        await client.say(3)
        assert client.speech.lengths == pytest.approx([0.8, 1.2, 1.6, 2.0, 2.4, 2.8])
        client.speech.deltas = False
        await client.say(3)
        assert len(client.speech.lengths) == 6


async def test_what_is_heard_after_a_turn_has_ended_is_not_told() -> None:
    async with asyncio.TaskGroup() as tasks:
        client = Client(Speech(), asyncio.Semaphore(1), tasks)
        client.speech.at_once = False
        await client.say(1)
        client.speech.answer()
        await client.say(1)
        client.interim.restart()
        client.speech.answer()
        await client.say(0.3)
        assert client.told == ""
        client.interim.stop()


async def test_complete_pieces_come_before_what_is_open() -> None:
    async with asyncio.TaskGroup() as tasks:
        client = Client(Speech(), asyncio.Semaphore(1), tasks)
        await client.say(4)
        piece: Future[Segment] = Future()
        client.speech.pieces, client.speech.start = (piece,), 4 * RATE
        before = len(client.speech.lengths)
        await client.say(1)
        assert len(client.speech.lengths) == before  # it waits for the piece
        piece.set_result(Segment(words(range(8)), 0, 4))
        await client.say(3)
        assert client.told.split() == [f"w{number}" for number in range(len(client.told.split()))]
        assert len(client.told.split()) >= 13


async def test_all_who_speak_share_the_gate() -> None:
    async with asyncio.TaskGroup() as tasks:
        gate = asyncio.Semaphore(1)
        clients = [Client(Speech(), gate, tasks) for _ in range(3)]
        for client in clients:
            client.speech.at_once = False
            await client.say(2)
        assert [len(client.speech.lengths) for client in clients] == [1, 0, 0]
        clients[0].speech.answer(0.5)  # who had one rests, and others have theirs
        for client in clients:
            await client.say(1)
        assert [len(client.speech.lengths) for client in clients] == [1, 1, 0]
        for client in clients:
            client.speech.answer()
            client.interim.stop()


async def test_attempts_that_take_long_are_rare(clock: types.SimpleNamespace) -> None:
    async with asyncio.TaskGroup() as tasks:
        client = Client(Speech(), asyncio.Semaphore(1), tasks)
        client.speech.at_once = False
        for work, rest in ((0.5, 1.0), (1.5, 30.0)):
            await client.say(1)
            before = len(client.speech.lengths)
            clock.now += 7.0  # it waits for others meanwhile, which is not its fault
            client.speech.answer(work)
            await client.say(1)
            clock.now += rest - 0.01
            await client.say(1)
            assert len(client.speech.lengths) == before
            clock.now += 0.02
        await client.say(1)
        assert len(client.speech.lengths) == before + 1
        client.interim.stop()
