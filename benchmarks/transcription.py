"""How well and how fast recorded speech is heard, in how much memory, and how soon a stream begins."""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import Gateway, cpu_seconds, gateway, rss_bytes
from benchmarks.report import Report, median
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.speech import HEARS, TWO_CITIES, clip, word_errors

_MARK = "fh-transcription-part"


def run(*, quick: bool, data_dir: Path | None) -> Report:
    report = Report(f"Transcription of a recorded reading by {HEARS}")
    with _serving(data_dir) as running, tempfile.TemporaryDirectory(prefix="fh-hear-") as folder:
        speech, seconds = clip("two_cities.wav").read_bytes(), 44.374
        heard = _ask(running, speech)[1]  # loads
        report.add("words heard wrong", 100 * word_errors(TWO_CITIES, json.loads(heard)["text"]), "%", goal="≤ 5")
        _pace(report, running, speech, seconds, 2 if quick else 9)
        _first_words(report, running, speech, 2 if quick else 9)
        _at_once(report, running, speech, 1 if quick else 5)
        _long(report, running, Path(folder), 120 if quick else 3600)
    return report


@contextmanager
def _serving(data_dir: Path | None) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="fh-hear-") as own:
        folder = data_dir or Path(own)
        pull(Store(folder), HEARS, on_progress=lambda progress: None)
        env = {"FREEHOLD_STARTER": "false", "FREEHOLD_DEFAULT_CHAT": HEARS, "FREEHOLD_DEFAULT_EMBEDDING": HEARS}
        with gateway(folder, env) as running:
            running.ready()
            yield running


def _pace(report: Report, running: Gateway, speech: bytes, seconds: float, rounds: int) -> None:
    worker = running.worker(HEARS)
    before = cpu_seconds(worker)
    took = [_ask(running, speech)[2] for _ in range(rounds)]
    spent = (cpu_seconds(worker) - before) / rounds
    rates = sorted(seconds / each for each in took)
    report.samples["whole_s"] = took
    note = f"{rates[0]:.0f} to {rates[-1]:.0f}; {seconds / spent:.0f} for each second of CPU in the worker"
    report.add("44 s of speech, against its own length", median(rates), "times as fast", goal="≥ 8", note=note)


def _first_words(report: Report, running: Gateway, speech: bytes, rounds: int) -> None:
    firsts = sorted(_ask(running, speech, stream="true")[0] for _ in range(rounds))
    report.samples["first_words_s"] = firsts
    report.add("first words of a stream", median(firsts), "s", goal="≤ 1", note=f"{firsts[0]:.2f} to {firsts[-1]:.2f}")


def _at_once(report: Report, running: Gateway, speech: bytes, rounds: int) -> None:
    """Two files at once, against one after the other: 1 where one alone keeps all cores busy."""
    ratios = []
    for _ in range(rounds):
        one = sum(_ask(running, speech)[2] for _ in range(2))
        threads = [threading.Thread(target=_ask, args=(running, speech)) for _ in range(2)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ratios.append(one / (time.perf_counter() - began))
    note = f"{min(ratios):.2f} to {max(ratios):.2f}; one alone is recognised on all cores"
    report.add("two files at once, against one after the other", median(ratios), "times the throughput", note=note)


def _long(report: Report, running: Gateway, folder: Path, seconds: int) -> None:
    path = folder / "long.wav"
    with wave.open(str(clip("two_cities.wav")), "rb") as source, wave.open(str(path), "wb") as sink:
        sink.setparams(source.getparams())
        whole = source.readframes(source.getnframes())
        for _ in range(seconds * source.getframerate() // source.getnframes() + 1):
            sink.writeframes(whole)
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            most[0] = max(most[0], rss_bytes(running.worker(HEARS)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = cpu_seconds(running.worker(HEARS))
    took = _ask(running, path.read_bytes())[2]
    spent = cpu_seconds(running.worker(HEARS)) - before
    done.set()
    watcher.join()
    report.add(f"{seconds / 60:.0f} min of speech", took, "s", note=f"{seconds / took:.0f} times as fast as it is spoken")
    report.add("cores that this one file kept busy", spent / took, f"of {os.cpu_count()}", note=f"{spent:.0f} s of CPU in all")
    report.add("memory of the worker meanwhile, at most", most[0] / 2**20, "MiB", goal="≤ 400")


def _ask(running: Gateway, speech: bytes, **fields: str) -> tuple[float, bytes, float]:
    """(seconds to the first byte of the answer, the answer, seconds to its last)."""
    form = b"".join(
        f'--{_MARK}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in {"model": HEARS, **fields}.items()
    )
    form += f'--{_MARK}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={_MARK}"}
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=3600)
    began = time.perf_counter()
    connection.request("POST", "/v1/audio/transcriptions", form + speech + f"\r\n--{_MARK}--\r\n".encode(), kind)
    answer = connection.getresponse()
    first = answer.read(1)
    at = time.perf_counter() - began
    body = first + answer.read()
    took = time.perf_counter() - began
    connection.close()
    if answer.status != 200:
        raise RuntimeError(body.decode())
    return at, body, took
