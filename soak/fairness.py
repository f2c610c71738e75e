"""One caller that asks for everything at once, and another that asks now and then."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from benchmarks.report import median, percentile
from soak.judge import Judged
from soak.servers import chat, connection, idle, real

_MODEL = "smollm2:135m"
_WORDS = ("harbour", "quiet", "boat", "nets", "bread", "open", "lamp", "two", "way", "north", "wind", "in", "the", "and", "of")
_NUMBERS = itertools.count()
_PAUSE = 1.0  # seconds after which a client that is turned away asks again: the least that Retry-After says
_Visits = list[tuple[int, float]]


def fairness(*, quick: bool, data_dir: Path | None) -> Judged:
    """A visitor asks once a second, in turns alone and while another caller keeps 100 requests under way."""
    report = Judged("A visitor beside a flood")
    rounds, count, clients = (1, 1, 8) if quick else (4, 20, 100)
    with real(data_dir) as gateway:
        uvloop.run(_visit(report, gateway.port, rounds, count, clients))
    return report


async def _visit(report: Judged, port: int, rounds: int, count: int, clients: int) -> None:
    alone: _Visits = []
    beside: _Visits = []
    flood: Counter[int] = Counter()
    await _once_a_second(port, 2)
    for _ in range(rounds):
        alone += await _once_a_second(port, count)
        async with _flooding(port, clients, flood):
            await _once_a_second(port, min(count, 3))  # until the queue is full
            beside += await _once_a_second(port, count)
        await idle(port, _MODEL)
    base, during = (percentile([seconds for _, seconds in visits], 0.95) for visits in (alone, beside))
    report.exactly("visits without an answer", sum(status != 200 for status, _ in beside), 0, "")
    report.add("time to first token alone, p95", base, "s", note=f"p50 {median([seconds for _, seconds in alone]):.3f}")
    report.add("beside the flood, p95", during, "s", note=f"p50 {median([seconds for _, seconds in beside]):.3f}")
    report.at_most("beside the flood, p95", during / base, 2, "× alone")
    report.add("answers to the flood", flood[200], "", note=f"{flood[429]} requests turned away")
    report.samples["seconds_to_first_token"] = {"alone": alone, "beside": beside}


async def _once_a_second(port: int, count: int) -> _Visits:
    """(status, seconds to the first token) of requests that begin a second apart, whatever becomes of those before."""

    async def one() -> tuple[int, float]:
        async with connection(port) as line:
            answer = await line.ask(_request("visitor", 10, 16))
        return answer.status, (answer.events or [answer.done])[0] - answer.sent

    began, visits = time.perf_counter(), []
    for number in range(count):
        await asyncio.sleep(began + number - time.perf_counter())
        visits.append(asyncio.create_task(one()))
    return await asyncio.gather(*visits)


@contextlib.asynccontextmanager
async def _flooding(port: int, clients: int, answers: Counter[int]) -> AsyncIterator[None]:
    """Clients of one caller that always want an answer; counts what they get by status."""

    async def one() -> None:
        while True:
            async with connection(port) as line:
                status = (await line.ask(_request("flood", 10, 64))).status
            answers[status] += 1
            if status != 200:
                await asyncio.sleep(_PAUSE)

    tasks = [asyncio.create_task(one()) for _ in range(clients)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _request(user: str, words: int, tokens: int) -> bytes:
    """A question that no cache of the engine knows; the chat template adds some 30 tokens."""
    number = next(_NUMBERS)
    text = " ".join(random.Random(number).choices(_WORDS, k=words))
    return chat(f"{number}: {text}", _MODEL, user=user, stream=True, max_tokens=tokens)
