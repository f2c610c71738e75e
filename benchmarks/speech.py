"""How soon speech begins, what it costs, and how well a listener of our own understands it."""

from __future__ import annotations

import http.client
import io
import json
import re
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.processes import Gateway, cpu_seconds, gateway, rss_bytes
from benchmarks.report import Report, median
from freehold.store.pull import pull
from freehold.store.store import Store

_VOICE, _EAR = "espeak-ng", "moonshine:tiny-en"
_FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
_TWO = "The kettle is on the stove. Please bring two cups and the small blue jug."
SENTENCES = (
    "The kettle is on the stove.",
    "Please bring two cups from the kitchen.",
    "She walked along the river every morning.",
    "The train to the coast leaves at nine.",
    "We planted three apple trees behind the house.",
    "He closed the window because of the rain.",
    "The children built a boat out of paper.",
    "My sister has worked in this hospital for years.",
    "There is a good bakery around the corner.",
    "The old map was hidden under the floor.",
    "They will paint the garden fence next summer.",
    "A long letter arrived from the lawyer today.",
    "The teacher asked everyone to read one page.",
    "Put the wet shoes next to the door.",
    "The market opens early on Saturday morning.",
    "His brother plays the violin in an orchestra.",
    "It was too dark to see the other side.",
    "The doctor told him to drink more water.",
    "We watched the ships until the sun went down.",
    "Nobody knew who had left the lights on.",
)


def run(*, quick: bool, data_dir: Path | None) -> Report:
    report = Report("Speech, by espeak-ng, and what Moonshine tiny hears of it")
    rounds = 5 if quick else 40
    with _serving(data_dir) as running:
        _cold(report, running, 2 if quick else 5)
        _first_audio(report, running, rounds)
        _left(report, running, 3 if quick else 15)
        _formats(report, running, 3 if quick else 15)
        _at_once(report, running, 4 if quick else 40)
        _long(report, running, 4_000 if quick else 100_000)
        for voice in ("alloy", "nova") if quick else ("alloy", "echo", "fable", "nova", "onyx"):
            _understood(report, running, voice)
    return report


@contextmanager
def _serving(data_dir: Path | None) -> Iterator[Gateway]:
    """A gateway on a folder with the two models alone, which the pulls of another are not spent for."""
    with tempfile.TemporaryDirectory(prefix="fh-speech-") as own:
        folder = data_dir or Path(own)
        for name in (_VOICE, _EAR):
            pull(Store(folder), name, on_progress=lambda progress: None)
        env = {"FREEHOLD_STARTER": "false", "FREEHOLD_DEFAULT_CHAT": _EAR, "FREEHOLD_DEFAULT_EMBEDDING": _VOICE}
        with gateway(folder, env) as running:
            running.ready()
            yield running


def _ask(running: Gateway, text: str, **fields: Any) -> tuple[float, float, bytes]:
    """(seconds to the first byte of audio, seconds to the last, audio)."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=600)
    body = {"model": _VOICE, "input": text, "voice": "alloy", "response_format": "wav", **fields}
    began = time.perf_counter()
    connection.request("POST", "/v1/audio/speech", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    first = answer.read(64)
    at = time.perf_counter() - began
    audio = first + answer.read()
    took = time.perf_counter() - began
    connection.close()
    if answer.status != 200:
        raise RuntimeError(audio.decode())
    return at, took, audio


def _seconds(wav: bytes) -> float:
    return (len(wav) - 44) / 48_000


def _cold(report: Report, running: Gateway, rounds: int) -> None:
    seconds = []
    for _ in range(rounds):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        connection.request("POST", "/api/unload", json.dumps({"model": _VOICE}), {"Content-Type": "application/json"})
        connection.getresponse().read()
        connection.close()
        seconds.append(_ask(running, _TWO)[0])
    report.samples["cold_s"] = seconds
    report.add("first audio, the model not in memory", median(seconds) * 1000, "ms", note="its worker is started")


def _first_audio(report: Report, running: Gateway, rounds: int) -> None:
    firsts = sorted(_ask(running, _TWO, response_format="mp3")[0] for _ in range(rounds))
    report.samples["first_audio_s"] = firsts
    report.add("first audio of two sentences, mp3", median(firsts) * 1000, "ms", goal="≤ 300")
    report.add("the slowest of them", firsts[-1] * 1000, "ms", note=f"of {rounds}")


def _left(report: Report, running: Gateway, rounds: int) -> None:
    """How soon nobody is spoken to any more when a client hangs up in the middle of a long text."""
    seconds = []
    for _ in range(rounds):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=600)
        body = {"model": _VOICE, "input": " ".join(SENTENCES * 100), "voice": "alloy", "response_format": "pcm"}
        connection.request("POST", "/v1/audio/speech", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read(10_000)
        began = time.perf_counter()
        answer.close()
        connection.close()
        while _leases(running):
            time.sleep(0.002)
        seconds.append(time.perf_counter() - began)
    report.samples["left_s"] = seconds
    report.add(
        "slot free after a client left",
        median(seconds) * 1000,
        "ms",
        goal="≤ 200",
        note=f"slowest {max(seconds) * 1000:.0f} ms",
    )


def _leases(running: Gateway) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/metrics", timeout=10) as answer:
        found = re.search(rf'^freehold_leases\{{model="{_VOICE}"\}} (\S+)', answer.read().decode(), re.M)
    return float(found[1]) if found else 0.0


def _formats(report: Report, running: Gateway, rounds: int) -> None:
    worker = running.worker(_VOICE)
    for kind in _FORMATS:
        before = cpu_seconds(worker)
        took = [_ask(running, _TWO, response_format=kind)[1] for _ in range(rounds)]
        spent = (cpu_seconds(worker) - before) / rounds
        report.samples[f"{kind}_s"] = took
        report.add(f"all of it as {kind}", median(took) * 1000, "ms", note=f"{spent * 1000:.0f} ms of CPU in the worker")


def _at_once(report: Report, running: Gateway, rounds: int) -> None:
    """Seconds of speech that are made in a second, for one client and for eight."""
    each = _seconds(_ask(running, _TWO)[2])
    for clients in (1, 8):
        asked = rounds // clients or 1

        def client(times: int) -> None:
            for _ in range(times):
                _ask(running, _TWO)

        began = time.perf_counter()
        threads = [threading.Thread(target=client, args=(asked,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rate = clients * asked * each / (time.perf_counter() - began)
        report.add(f"{clients} client{'s' * (clients > 1)} at a time", rate, "s of speech a second")


def _long(report: Report, running: Gateway, characters: int) -> None:
    text = " ".join(SENTENCES * 200)[:characters]
    at, took, audio = _ask(running, text)
    report.add(
        f"{characters:,} characters",
        took,
        "s",
        note=f"{_seconds(audio) / 60:.0f} min of speech; first audio {at * 1000:.0f} ms",
    )
    report.add("memory of the worker, after it", rss_bytes(running.worker(_VOICE)) / 2**20, "MiB")


def _understood(report: Report, running: Gateway, voice: str) -> None:
    """The share of words that are heard wrong, by a listener that makes mistakes of its own."""
    wrong = total = 0
    heard: list[str] = []
    for sentence in SENTENCES:
        heard.append(_hear(running, _ask(running, sentence, voice=voice)[2]))
        wrong += errors(_words(sentence), _words(heard[-1]))
        total += len(_words(sentence))
    report.samples[f"heard_{voice}"] = heard
    report.add(f"words heard wrong, voice {voice}", 100 * wrong / total, "%", note=f"{wrong} of {total}, 20 sentences")


def _hear(running: Gateway, wav: bytes) -> str:
    mark = "fh-speech-part"
    form = io.BytesIO()
    form.write(f'--{mark}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{_EAR}\r\n'.encode())
    form.write(f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode() + wav)
    form.write(f"\r\n--{mark}--\r\n".encode())
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=600)
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    connection.request("POST", "/v1/audio/transcriptions", form.getvalue(), kind)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(body.decode())
    return str(json.loads(body)["text"])


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower().replace("9", "nine"))


def errors(said: list[str], heard: list[str]) -> int:
    """The fewest words to be put in, left out or changed (Levenshtein's distance)."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(said, 1):
        row, above = [place], row
        for column, other in enumerate(heard, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (word != other)))
    return row[-1]
