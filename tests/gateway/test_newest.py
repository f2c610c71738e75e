"""Of an editor's requests only the newest matters."""

from __future__ import annotations

import asyncio

import pytest

from freehold.errors import Conflict
from freehold.gateway.newest import Newest
from freehold.protocol.fim.fill import Fill

OLD, NEW, ELSEWHERE = Fill("x = ", "\n"), Fill("x = 1", "\n"), Fill("y", "\n")


async def answering(newest: Newest, key: bytes, asked: Fill, begun: asyncio.Event) -> str:
    with newest.claimed(key, asked) as claim:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            claim.settle()
    return "never"


async def begun(newest: Newest, key: bytes, asked: Fill) -> asyncio.Task[str]:
    event = asyncio.Event()
    task = asyncio.create_task(answering(newest, key, asked, event))
    await event.wait()
    return task


async def test_a_newer_one_ends_those_that_asked_otherwise() -> None:
    newest = Newest()
    old, same, other = [await begun(newest, *pair) for pair in ((b"a", OLD), (b"a", OLD), (b"b", OLD))]
    with newest.claimed(b"a", NEW):
        for task in (old, same):
            with pytest.raises(Conflict) as caught:
                await task
            assert caught.value.code == "superseded"
        assert not other.done()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):  # cancelled by somebody else: that goes on
        await other
    assert newest == Newest()


async def test_the_same_question_and_one_for_another_place_end_nobody() -> None:
    newest = Newest()
    first = await begun(newest, b"a", OLD)
    with newest.claimed(b"a", OLD), newest.claimed(b"a", ELSEWHERE):
        await asyncio.sleep(0)
        assert not first.done()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert newest == Newest()
