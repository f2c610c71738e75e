"""How soon a second `freehold up` serves, a model answers that has to be loaded first, and two models take turns in memory."""

from __future__ import annotations

import http.client
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.processes import Gateway, cpu_seconds, gateway, rss_bytes
from benchmarks.report import Report, median
from freehold.settings import load
from freehold.store.store import Store

_STARTER = "smollm2:135m"
_TWINS = ("one", "two")
_AT_EASE = 2.0  # seconds between two swaps of somebody who reads the answers


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """The first start, which may have to pull, is not measured."""
    report = Report("Start, load and swap")
    with gateway(data_dir) as first:
        first.ready()
    _second_start(report, data_dir, 2 if quick else 5)
    _cold_load(report, data_dir, 2 if quick else 7)
    with _twins(data_dir) as folder:
        memory = _planned_bytes(folder)
        for pause in (0.0, _AT_EASE):
            _swap(report, folder, int(memory * 1.5), 4 if quick else 12, pause)
    return report


def _second_start(report: Report, data_dir: Path | None, rounds: int) -> None:
    bound, token, ready, memory = [], [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        with gateway(data_dir) as running:
            bound.append(running.bound_after)
            # Asked the moment the port is there: the request waits for the model that loads.
            _first_token(running, "gpt-4o")
            token.append(time.perf_counter() - began)
            running.ready()
            ready.append(time.perf_counter() - began)
            idle, used = _idle(running.pid)
            memory.append(rss_bytes(running.pid) / 2**20)
            report.samples.setdefault("idle_cpu_share", []).append(used / idle)
    report.samples.update(bound_s=bound, first_token_s=token, ready_s=ready, rss_mib=memory)
    report.add("port bound", median(bound) * 1000, "ms", goal="≤ 1,000")
    report.add("first token", median(token), "s", note="asked as soon as the port was bound")
    report.add("ready", median(ready), "s", note="both starter models loaded")
    report.add("gateway memory, idle", median(memory), "MiB")
    report.add("gateway CPU, idle", median(report.samples["idle_cpu_share"]) * 100, "% of a core")


def _cold_load(report: Report, data_dir: Path | None, rounds: int) -> None:
    seconds = []
    for _ in range(rounds):
        with gateway(data_dir, {"FREEHOLD_PRELOAD": "false"}) as running:
            running.ready()
            seconds.append(_first_token(running, _STARTER))
    _timed(report, "cold load, request to first token", "cold_load_s", seconds, "nothing is in memory")


def _swap(report: Report, folder: Path, budget: int, rounds: int, pause: float) -> None:
    """Two models of which one fits, asked in turns; both have been loaded once before."""
    env = {"FREEHOLD_MEMORY_BUDGET": str(budget), "FREEHOLD_MEMORY_KEEP_ALIVE": "-1"}
    with _serving_twins(folder, env) as running:
        for name in _TWINS:
            _first_token(running, name)
        seconds = []
        for number in range(rounds):
            time.sleep(pause)
            seconds.append(_first_token(running, _TWINS[number % 2]))
            in_memory = [worker["model"] for worker in running.get("/api/ps")["workers"] if worker["state"] == "ready"]
            if in_memory != [_TWINS[number % 2]]:
                raise RuntimeError(f"in memory is {in_memory}: that was no swap")
    what = f"swap, {pause:g} s after the other's answer" if pause else "swap, at once after the other's answer"
    _timed(report, what, f"swap_{pause:g}_s", seconds, "memory for one of two models")


def _timed(report: Report, what: str, key: str, seconds: list[float], note: str) -> None:
    report.samples[key] = seconds
    spread = f"{min(seconds):.2f} to {max(seconds):.2f} s in {len(seconds)}"
    report.add(what, median(seconds), "s", goal="≤ 1.5", note=f"{spread}; {note}")


@contextmanager
def _twins(data_dir: Path | None) -> Iterator[Path]:
    """A data folder in which the starter model is installed under two names; its bytes are links to the real ones."""
    source = Store(load(flags={"data_dir": data_dir}).data_dir)
    manifest = source.get(_STARTER)
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as folder:
        store = Store(Path(folder))
        for file in manifest.files:
            store.path(file).parent.mkdir(parents=True, exist_ok=True)
            store.path(file).symlink_to(source.path(file))
        for name in _TWINS:
            store.save(replace(manifest, name=name))
        yield Path(folder)


@contextmanager
def _serving_twins(folder: Path, env: dict[str, str]) -> Iterator[Gateway]:
    names = {"FREEHOLD_DEFAULT_CHAT": _TWINS[0], "FREEHOLD_DEFAULT_EMBEDDING": _TWINS[1], "FREEHOLD_PRELOAD": "false"}
    with gateway(folder, {**names, **env}) as running:
        running.ready()
        yield running


def _planned_bytes(folder: Path) -> int:
    """Host memory that one of the models is planned to take."""
    with _serving_twins(folder, {}) as running:
        _first_token(running, _TWINS[0])
        planned: dict[str, int] = running.get("/api/ps")["workers"][0]["plan"]["bytes"]
        return planned["host"]


def _first_token(running: Gateway, model: str) -> float:
    """Seconds until the first text of a streamed answer."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0, "stream": True}
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)
    try:
        began = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        while line := answer.readline():
            choices = json.loads(line[6:]).get("choices") if line.startswith(b"data: {") else None
            if choices and choices[0]["delta"].get("content"):
                seconds = time.perf_counter() - began
                answer.read()
                return seconds
        raise RuntimeError(f"status {answer.status}, and no text in the answer")
    finally:
        connection.close()


def _idle(pid: int) -> tuple[float, float]:
    """(seconds, CPU seconds) of a process that has nothing to do."""
    began, spent = time.perf_counter(), cpu_seconds(pid)
    time.sleep(2.0)
    return time.perf_counter() - began, cpu_seconds(pid) - spent
