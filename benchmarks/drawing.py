"""How long the drawing model that comes along takes for a picture, and for four in one request, and in how much memory."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import Gateway, gateway
from benchmarks.report import Report, median
from freehold.settings import load
from freehold.store.pull import pull
from freehold.store.sources.shipped import PICTOGRAM
from freehold.store.store import Store

_PROMPTS = ("a lion", "blue car", "two red apples", "cat and moon", "fruit")
_MANY = 4


def run(*, quick: bool, data_dir: Path | None) -> Report:
    report = Report("Pictograms, drawn by the model that comes along")
    pull(Store(data_dir or load().data_dir), PICTOGRAM, on_progress=lambda progress: None)
    env = {"FREEHOLD_DEFAULT_IMAGE": PICTOGRAM, "FREEHOLD_PRELOAD": "false"}
    with gateway(data_dir, env) as running:
        running.ready()
        began = time.perf_counter()
        picture = _draw(running, "a lion")
        report.add("first picture, with the start of the worker", time.perf_counter() - began, "s")
        _alternately(report, running, 3 if quick else 25)
        worker = running.worker(PICTOGRAM)
        report.add("memory of the worker, most of it so far", _peak(worker) / 2**20, "MiB", goal="≤ 250")
        seconds = [_vary(running, picture, seed) for seed in range(2 if quick else 9)]
        report.samples["variation_s"] = seconds
        report.add("variation", median(seconds), "s", note=_spread(seconds))
    return report


def _alternately(report: Report, running: Gateway, rounds: int) -> None:
    one, many, ratios = [], [], []
    for number in range(rounds):
        prompt = _PROMPTS[number % len(_PROMPTS)]
        began = time.perf_counter()
        _draw(running, prompt, seed=number)
        between = time.perf_counter()
        _draw(running, prompt, seed=number, n=_MANY)
        one.append(between - began)
        many.append(time.perf_counter() - between)
        ratios.append(many[-1] / one[-1])
    report.samples.update(one_s=one, many_s=many, ratios=ratios)
    report.add("one picture", median(one), "s", goal="≤ 3", note=_spread(one))
    report.add("four in one request", median(many), "s", note=_spread(many))
    report.add(
        "four / one", median(ratios), "×", goal="≤ 2.5", note=f"{min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds"
    )


def _spread(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s in {len(seconds)}"


def _draw(running: Gateway, prompt: str, **fields: Any) -> bytes:
    """The first picture of the answer, a PNG."""
    body = json.dumps({"model": PICTOGRAM, "prompt": prompt, **fields}).encode()
    return _asked(running, "generations", body, "application/json")


def _vary(running: Gateway, picture: bytes, seed: int) -> float:
    """Seconds of a variation."""
    fields: Mapping[str, bytes] = {"model": PICTOGRAM.encode(), "seed": str(seed).encode()}
    parts = [b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (n.encode(), v) for n, v in fields.items()]
    parts.append(b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n%b\r\n--x--\r\n' % picture)
    began = time.perf_counter()
    _asked(running, "variations", b"".join(parts), "multipart/form-data; boundary=x")
    return time.perf_counter() - began


def _asked(running: Gateway, what: str, body: bytes, kind: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{running.port}/v1/images/{what}", body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return base64.b64decode(json.loads(answer.read())["data"][0]["b64_json"])


def _peak(pid: int) -> int:
    """The most bytes that a process has had in memory at a time."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
