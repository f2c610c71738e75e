"""Whether the gateway slows the real engine down: the same worker, called on its own socket and through `freehold up`."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.client import Address, Answer, Client, request
from benchmarks.processes import gateway, worker_socket
from benchmarks.report import Report, median

MODEL = "smollm2:135m"
STREAMS = (1, 4, 8)
TOKENS = 64
_CHAT = "/v1/chat/completions"
_TEXT = (
    "The keeper of the lighthouse had counted ships for forty years and written each of them into a grey book. In the last "
    "winter a ship came that carried no light, no flag and no name, and it stayed on the horizon for three days without "
    "moving. On the fourth morning it was closer, though nobody had seen it sail. The keeper closed the book, put on the "
    "heavy coat, and went down to the boat, because somebody had to ask. Continue this story in as many sentences as you can."
)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Round:
    """One batch of equal streams: tokens a second of all together, and the median seconds to a stream's first token."""

    tokens_per_second: float
    first_token: float
    tokens: int


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """Needs the starter chat model, which `freehold up` pulls when it is not in `data_dir`."""
    report = Report(f"Engine through the gateway ({MODEL}, about 130 tokens in, {TOKENS} out, temperature 0)")
    # As many slots as streams: what is compared is the way to the engine, not a queue.
    with gateway(data_dir, {"FREEHOLD_ENGINE_SLOTS": str(max(STREAMS))}) as running:
        running.ready()
        direct = worker_socket(running.worker(MODEL))
        uvloop.run(_measure(report, 2 if quick else 7, direct, running.port))
    return report


async def _measure(report: Report, repetitions: int, direct: Path, port: int) -> None:
    for streams in STREAMS:
        rounds: dict[str, list[Round]] = {"direct": [], "gateway": []}
        await _round(streams, port)
        for turn in range(repetitions):
            order: list[tuple[str, Address]] = [("direct", direct), ("gateway", port)]
            for name, address in order if turn % 2 else reversed(order):
                rounds[name].append(await _round(streams, address))
        _report(report, streams, rounds)


def _report(report: Report, streams: int, rounds: dict[str, list[Round]]) -> None:
    speed = {name: median([r.tokens_per_second for r in done]) for name, done in rounds.items()}
    first = {name: median([r.first_token for r in done]) for name, done in rounds.items()}
    label = f"{streams} stream{'s' if streams > 1 else ''}"
    report.add(f"{label}, direct", speed["direct"], "tokens/s")
    report.add(
        f"{label}, gateway", speed["gateway"], "tokens/s", note=_spread([r.tokens_per_second for r in rounds["gateway"]])
    )
    report.add(f"{label}, gateway / direct", speed["gateway"] / speed["direct"], "", goal="≥ 0.97")
    report.add(f"{label}, first token, direct", first["direct"] * 1000, "ms")
    report.add(f"{label}, first token, gateway", first["gateway"] * 1000, "ms")
    report.samples[label] = {name: [vars(r) for r in done] for name, done in rounds.items()}


async def _round(streams: int, address: Address) -> Round:
    """A batch of streams that start together, each with a prompt the engine has not seen, so that no cache helps."""
    clients = [Client(address) for _ in range(streams)]
    began = time.perf_counter()
    answers = await asyncio.gather(*(client.ask(request(_CHAT, _body())) for client in clients))
    lasted = time.perf_counter() - began
    for client in clients:
        client.close()
    tokens = sum(_tokens(answer) for answer in answers)
    return Round(tokens / lasted, median([_first(answer) for answer in answers]), tokens)


def _body() -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"{next(_numbers)} is the number of this story. {_TEXT}"}],
        "temperature": 0,
        "max_tokens": TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _tokens(answer: Answer) -> int:
    return int(next(p["usage"]["completion_tokens"] for p in answer.payloads() if p.get("usage")))


def _first(answer: Answer) -> float:
    """Seconds to the first piece after the one that only names the role."""
    return answer.events[min(1, len(answer.events) - 1)] - answer.sent


def _spread(values: list[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"
