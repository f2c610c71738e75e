"""Many short requests: memory and open files must not grow, and the server's counters must be the clients' own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvloop

from benchmarks.client import Connection, request
from benchmarks.processes import rss_bytes
from soak.judge import Judged, slope
from soak.servers import CHAT, chat, fake, idle, metric, open_files, real

_CLIENTS = 16
_PER_CONNECTION = 200  # requests, then a new connection
_MB = 1e6


def short_fake(*, quick: bool, data_dir: Path | None) -> Judged:
    """100,000 requests of all kinds, good and bad, on the fake engine."""
    report = Judged("Short requests, fake engine")
    with fake(_CLIENTS) as (gateway, _):
        pids = {"gateway": gateway.pid, "worker": gateway.worker("fake")}
        uvloop.run(_watch(report, gateway.port, pids, 400 if quick else 100_000, _mixed()))
    return report


def short_real(*, quick: bool, data_dir: Path | None) -> Judged:
    """20,000 requests on the starter models, one in four a chat. Memory comes in pieces of a MB: fewer requests could not tell
    one piece too many from growth."""
    report = Judged("Short requests, real engine")
    with real(data_dir) as gateway:
        pids = {"gateway": gateway.pid, "worker": gateway.worker("smollm2:135m")}
        # In its first ten thousand requests a new process touches a MB or two, whatever comes after.
        uvloop.run(_send(gateway.port, _texts(), 100 if quick else 10_000, _CLIENTS))
        uvloop.run(_watch(report, gateway.port, pids, 40 if quick else 20_000, _plain(), clients=8))
    return report


def _mixed() -> Iterator[tuple[bytes, int]]:
    """(request, expected status) without end: what a day's clients send, mistakes included."""
    embeddings = request("/v1/embeddings", {"model": "fake-embedding", "input": ["one", "two"]})
    for number in itertools.count():
        match number % 10:
            case 0:
                yield embeddings, 200
            case 1 | 2 | 3:
                yield chat(f"streamed {number}", stream=True), 200
            case 4:
                yield chat(model=f"unknown-{number}"), 404  # each of another name
            case 5:
                yield chat(temperature=9), 400
            case 6:
                yield request(f"/v1/nowhere/{number}", {}), 404
            case 7:
                yield chat(f"several {number}", n=2), 200
            case _:
                yield chat(f"whole {number}"), 200


def _plain() -> Iterator[tuple[bytes, int]]:
    texts = _texts()
    for number in itertools.count():
        if number % 4:
            yield next(texts)
        else:
            yield chat(f"Say {number}.", model="gpt-4o", max_tokens=2, stream=number % 8 == 0), 200


def _texts() -> Iterator[tuple[bytes, int]]:
    for number in itertools.count():
        yield request("/v1/embeddings", {"model": "text-embedding-3-small", "input": f"Text {number}."}), 200


async def _watch(
    report: Judged, port: int, pids: dict[str, int], count: int, kinds: Iterator[tuple[bytes, int]], clients: int = _CLIENTS
) -> None:
    """Sends `count` requests after a fifth of them as warm-up, and looks at the processes twenty times on the way."""
    await _send(port, kinds, max(count // 5, clients), clients)
    files = {name: open_files(pid) for name, pid in pids.items()}
    memory: dict[str, list[tuple[float, float]]] = {name: [(0.0, float(rss_bytes(pid)))] for name, pid in pids.items()}
    began, wrong = time.perf_counter(), 0
    for part in range(1, 21):
        wrong += await _send(port, kinds, count // 20, clients)
        for name, pid in pids.items():
            memory[name].append((part * count / 20, float(rss_bytes(pid))))
    lasted = time.perf_counter() - began
    report.add("requests", count // 20 * 20, "", note=f"{count / lasted:,.0f}/s")
    report.exactly("unexpected answers", wrong, 0, "")
    for name, pid in pids.items():
        grown = slope(memory[name]) * 10_000 / _MB
        span = (memory[name][-1][1] - memory[name][0][1]) / _MB
        report.at_most(
            f"memory of the {name} grows", grown, 1, "MB/10k", f"{memory[name][-1][1] / _MB:.1f} MB, {span:+.1f} in all"
        )
        report.at_most(f"files of the {name} more than before", open_files(pid) - files[name], 2, "")
    report.samples["memory"] = memory


async def _send(port: int, kinds: Iterator[tuple[bytes, int]], count: int, clients: int) -> int:
    """How many answers had another status than expected."""
    wrong, left = 0, count

    async def one() -> None:
        nonlocal wrong, left
        while left > 0:
            line = await Connection.open(port)
            for _ in range(_PER_CONNECTION):
                if left <= 0 or line.closing:
                    break
                left -= 1
                data, status = next(kinds)
                answer = await line.ask(data)  # before the sum is read: others add to it meanwhile
                wrong += answer.status != status
            line.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return wrong


def counters(*, quick: bool, data_dir: Path | None) -> Judged:
    """10,000 requests of known outcome: answers, tokens and abandoned streams, as the clients counted them."""
    report = Judged("Counters against the clients' own")
    with fake(_CLIENTS) as (gateway, _):
        uvloop.run(_count(report, gateway.port, 100 if quick else 10_000))
    return report


async def _count(report: Judged, port: int, count: int) -> None:
    seen: Counter[str] = Counter()
    before = {name: await read() for name, read in _readings(port).items()}
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            await _one(port, number, seen)

    await asyncio.gather(*(one() for _ in range(_CLIENTS)))
    await idle(port, "fake")
    for name, read in _readings(port).items():
        report.exactly(name, await read() - before[name], seen[name], "")


async def _one(port: int, number: int, seen: Counter[str]) -> None:
    line = await Connection.open(port)
    match number % 5:
        case 0:
            await line.begin(chat(faults={"tokens": 100_000, "token_delay_s": 0.01}, stream=True))
            seen["answers 200"] += 1
            seen["streams abandoned"] += 1
        case 1:
            answer = await line.ask(chat(temperature=9))
            seen["answers 400"] += answer.status == 400
        case 2:
            answer = await line.ask(chat(f"one two {number}", stream=True, stream_options={"include_usage": True}))
            _tally(answer.payloads()[-1]["usage"], seen)
        case _:
            answer = await line.ask(chat(f"one two {number}", n=1 + number % 2))
            _tally(answer.json()["usage"], seen)
    line.close()


def _tally(usage: dict[str, int], seen: Counter[str]) -> None:
    seen["answers 200"] += 1
    seen["generations completed"] += 1
    seen["prompt tokens"] += usage["prompt_tokens"]
    seen["completion tokens"] += usage["completion_tokens"]


def _readings(port: int) -> dict[str, Callable[[], Awaitable[float]]]:
    def of(name: str, **labels: str) -> Callable[[], Awaitable[float]]:
        return lambda: metric(port, name, **labels)

    return {
        "answers 200": of("freehold_requests_total", route=CHAT, status="200"),
        "answers 400": of("freehold_requests_total", route=CHAT, status="400"),
        "generations completed": of("freehold_generations_total", model="fake", outcome="completed"),
        "streams abandoned": of("freehold_generations_total", model="fake", outcome="abandoned"),
        "prompt tokens": of("freehold_tokens_total", model="fake", kind="prompt"),
        "completion tokens": of("freehold_tokens_total", model="fake", kind="completion"),
    }
