"""The ear of a session: when it has a line to the recogniser, when it gives it back, and what it holds meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from freehold.errors import EngineBadResponse, FreeholdError, WorkerDied
from freehold.gateway.realtime import ear as module
from freehold.gateway.realtime.ear import Ear, Order
from freehold.protocol.realtime.effects import EndTurn, Forget, Hear, Listen
from freehold.routing.scheduler import Terms

SETTINGS = Listen({"rate": 24000}, None)


class Recogniser:
    """What the ear talks to: lines that are scripted, and leases that are counted."""

    def __init__(self) -> None:
        self.lines = self.open = self.leases = 0
        self.said: list[Any] = []
        self.answers: asyncio.Queue[str | FreeholdError] = asyncio.Queue()
        self.refusals: list[FreeholdError] = []

    @contextlib.asynccontextmanager
    async def lease(self, deployment: object, terms: Terms) -> AsyncIterator[Any]:
        if self.refusals:
            raise self.refusals.pop()
        self.leases += terms.need
        try:
            yield SimpleNamespace(client=self)
        finally:
            self.leases -= terms.need

    @contextlib.asynccontextmanager
    async def line(self, path: str, within: float) -> AsyncIterator[Recogniser]:
        self.lines, self.open = self.lines + 1, self.open + 1
        try:
            yield self
        finally:
            self.open -= 1

    async def tell(self, text: str) -> None:
        self.said.append(json.loads(text)["type"])

    async def send(self, data: bytes) -> None:
        self.said.append(data)

    async def receive(self) -> str:
        answer = await self.answers.get()
        if isinstance(answer, FreeholdError):
            raise answer
        return answer

    def hears(self, kind: str, **fields: int) -> None:
        self.answers.put_nowait(json.dumps({"type": kind, **fields}))


class Listening:
    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.recogniser = Recogniser()
        self.told: list[str] = []
        self.starts: list[int] = []
        self.failed: list[FreeholdError] = []
        self.waits = False
        entry = SimpleNamespace(deployment=None, stay=None, check=lambda: None)
        monkeypatch.setattr(module, "for_task", lambda services, name, task: entry)
        queue = SimpleNamespace(timeout=5)
        services = SimpleNamespace(
            scheduler=self.recogniser, settings=SimpleNamespace(queue=queue, default_transcription="default")
        )
        self.ear = Ear(services, Terms(), self._told, self._failed, lambda: self.waits)  # type: ignore[arg-type]

    async def _told(self, told: Mapping[str, Any]) -> None:
        self.told.append(told["type"])
        self.starts += [told["audio_start_ms"]] if "audio_start_ms" in told else []

    async def _failed(self, error: FreeholdError) -> None:
        self.failed.append(error)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def listening(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listening]:
    made = Listening(monkeypatch)
    running = asyncio.create_task(made.ear.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.ear.close()
    assert made.recogniser.open == made.recogniser.leases == 0


async def test_there_is_no_line_until_something_is_said(listening: Listening) -> None:
    for order in (SETTINGS, Forget(), Listen({"rate": 8000}, None)):
        await listening.ear.put(order)
    await asyncio.sleep(0.05)
    assert listening.recogniser.lines == 0
    await listening.ear.put(Hear(b"12"))
    await listening.until(lambda: listening.recogniser.said == ["session.update", b"12"])
    assert listening.recogniser.leases == 0  # who only listens takes no slot


async def test_a_slot_is_held_while_a_turn_is_spoken_and_recognised(listening: Listening) -> None:
    await listening.ear.put(Hear(b"12"))
    listening.recogniser.hears("speech_started")
    await listening.until(lambda: listening.recogniser.leases == 1)
    listening.recogniser.hears("speech_stopped")
    listening.recogniser.hears("completed")
    await listening.until(lambda: listening.recogniser.leases == 0)
    await listening.ear.put(EndTurn())
    await listening.until(lambda: listening.recogniser.leases == 1)
    assert listening.told == ["speech_started", "speech_stopped", "completed"]


@pytest.mark.parametrize(
    ("order", "told"),
    [(Forget(), ["cleared"]), (SETTINGS, ["session.updated"]), (EndTurn(), ["speech_stopped", "completed"])],
)
async def test_a_slot_is_given_back_when_what_is_being_said_is_forgotten_or_ended(
    listening: Listening, order: Order, told: list[str]
) -> None:
    await listening.ear.put(SETTINGS)
    await listening.ear.put(Hear(b"12"))
    listening.waits = True
    listening.recogniser.hears("speech_started")
    await listening.until(lambda: listening.recogniser.leases == 1)
    before = len(listening.recogniser.said)
    await listening.ear.put(order)
    await listening.until(lambda: len(listening.recogniser.said) > before)
    listening.waits = False
    for kind in told:
        listening.recogniser.hears(kind)
    await listening.until(lambda: listening.recogniser.leases == 0)
    assert listening.recogniser.open == 1


async def test_a_line_that_is_not_used_is_given_back(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE", 0.05)
    listening.waits = True
    await listening.ear.put(Hear(b"12"))
    listening.recogniser.hears("speech_started")  # and then nothing more comes
    await listening.until(lambda: listening.told)
    await listening.until(lambda: listening.recogniser.leases == 0)
    assert listening.recogniser.open == 1  # something may still be recognised
    listening.waits = False
    await listening.until(lambda: listening.recogniser.open == 0)
    await listening.ear.put(Hear(b"34"))
    await listening.until(lambda: listening.recogniser.lines == 2)
    assert not listening.failed


async def test_times_count_from_the_beginning_of_the_session_whatever_line_it_is(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE", 0.05)
    await listening.ear.put(SETTINGS)
    for _ in range(2):
        await listening.ear.put(Hear(bytes(48 * 500)))
    listening.recogniser.hears("speech_started", audio_start_ms=300)
    await listening.until(lambda: listening.starts == [300])
    listening.recogniser.hears("completed")
    await listening.until(lambda: listening.recogniser.open == 0)
    await listening.ear.put(Hear(bytes(48 * 500)))
    await listening.until(lambda: listening.recogniser.lines == 2)
    listening.recogniser.hears("speech_started", audio_start_ms=300)
    await listening.until(lambda: listening.starts == [300, 1300])


async def test_another_model_is_another_line(listening: Listening) -> None:
    await listening.ear.put(SETTINGS)
    await listening.ear.put(Hear(b"12"))
    await listening.ear.put(Listen({"rate": 8000}, None))
    await listening.until(lambda: listening.recogniser.said[-1:] == ["session.update"])
    assert listening.recogniser.lines == 1
    await listening.ear.put(Listen({"rate": 8000}, "another"))
    await listening.ear.put(Hear(b"34"))
    await listening.until(lambda: listening.recogniser.said[-1] == b"34")
    assert (listening.recogniser.lines, listening.recogniser.open) == (2, 1)


async def test_words_of_what_is_forgotten_are_not_told(listening: Listening) -> None:
    recogniser = listening.recogniser
    await listening.ear.put(SETTINGS)
    await listening.ear.put(Hear(b"12"))
    recogniser.hears("session.updated")
    recogniser.hears("delta")
    await listening.until(lambda: listening.told == ["session.updated", "delta"])
    for order in (Forget(), Listen({"rate": 8000}, None)):
        await listening.ear.put(order)
    await listening.until(lambda: recogniser.said[-2:] == ["clear", "session.update"])
    for kind in ("delta", "cleared", "delta", "session.updated", "delta"):
        recogniser.hears(kind)
    await listening.until(lambda: listening.told[2:] == ["cleared", "session.updated", "delta"])


async def test_a_turn_that_ends_after_it_was_forgotten_is_not_told_nor_taken_for_the_next(listening: Listening) -> None:
    recogniser = listening.recogniser
    await listening.ear.put(Hear(b"12"))
    recogniser.hears("session.updated")
    recogniser.hears("speech_started")
    await listening.until(lambda: listening.told[1:] == ["speech_started"])
    await listening.ear.put(Forget())
    await listening.until(lambda: recogniser.said[-1:] == ["clear"])
    recogniser.hears("speech_stopped", audio_end_ms=700)
    recogniser.hears("speech_started", audio_start_ms=900)
    recogniser.hears("cleared")
    await listening.until(lambda: listening.told[2:] == ["cleared"])
    recogniser.hears("delta")  # of the turn that was forgotten
    recogniser.hears("speech_started", audio_start_ms=1000)
    recogniser.hears("completed", audio_end_ms=700)
    recogniser.hears("speech_stopped", audio_end_ms=1500)
    recogniser.hears("completed", audio_end_ms=1500)
    await listening.until(lambda: listening.told[3:] == ["speech_started", "speech_stopped", "completed"])
    assert listening.starts == [1000]


async def test_a_turn_that_was_committed_before_something_is_forgotten_is_told(listening: Listening) -> None:
    recogniser = listening.recogniser
    await listening.ear.put(Hear(b"12"))
    recogniser.hears("session.updated")
    for order in (EndTurn(), Forget()):
        await listening.ear.put(order)
    await listening.until(lambda: recogniser.said[-1:] == ["clear"])
    recogniser.hears("speech_stopped", audio_end_ms=700, committed=True)
    recogniser.hears("cleared")
    recogniser.hears("completed", audio_end_ms=700)
    await listening.until(lambda: listening.told[1:] == ["speech_stopped", "cleared", "completed"])


async def test_what_fails_is_told_once_and_heard_again_after_a_pause(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.2)
    await listening.ear.put(Hear(b"12"))
    listening.recogniser.answers.put_nowait(WorkerDied("Gone.", reached=True))
    await listening.until(lambda: listening.failed)
    for _ in range(5):
        await listening.ear.put(Hear(b"lost"))
    await asyncio.sleep(0.3)
    await listening.ear.put(Hear(b"34"))
    await listening.until(lambda: listening.recogniser.said[-1] == b"34")
    assert b"lost" not in listening.recogniser.said
    assert len(listening.failed) == 1


async def test_a_model_that_cannot_be_had_is_told_and_so_is_garbage(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    listening.recogniser.refusals.append(FreeholdError("No room."))
    await listening.ear.put(Hear(b"12"))
    await listening.until(lambda: listening.failed)
    ill = '{"type": "error", "message": null, "param": null, "code": "engine_error"}'
    refusal = '{"type": "error", "message": "Not that language.", "code": "unsupported_language"}'
    for answer in ("garbage", "[1]", ill, refusal):
        before = len(listening.failed)
        listening.recogniser.answers.put_nowait(answer)
        await listening.ear.put(Hear(b"12"))
        await listening.until(lambda before=before: len(listening.failed) > before)
    assert listening.failed[0].message == "No room."
    assert isinstance(listening.failed[-2], EngineBadResponse)
    assert listening.failed[-1].code == "unsupported_language"
    assert listening.recogniser.open == 0


async def test_who_says_more_than_is_heard_is_made_to_wait(listening: Listening) -> None:
    async def never(data: bytes) -> None:
        await asyncio.Event().wait()

    listening.recogniser.send = never  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            for _ in range(20):
                await listening.ear.put(Hear(bytes(2**20)))
    assert listening.ear._held <= 5 * 2**20
