"""How soon a spoken question is answered by voice, and how soon an answer stops when the person speaks again."""

from __future__ import annotations

import array
import asyncio
import base64
import json
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.processes import Gateway, gateway
from benchmarks.report import Report, median, percentile
from tests.speech import clip, words
from tests.workers.hearing import samples

_MODELS = ("smollm2:135m", "moonshine:tiny-en", "espeak-ng")
_QUESTIONS = (
    "What is the capital of France?",
    "How many days are in a week?",
    "What color is the sky?",
    "Who was Shakespeare?",
)
_STORY = "Tell me a very long story about a king, a castle and a dragon."
_STOP = "Please stop it now."
_RATE = 48_000  # bytes a second
_PIECE = 1_920  # bytes: 40 ms, as browsers send them
_SILENCE = 500  # milliseconds that end a turn, OpenAI's usual


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """The models are loaded before; audio is sent at the pace of speech."""
    report = Report("Realtime: a conversation by voice")
    with gateway(data_dir) as running:
        running.ready()
        for model in _MODELS:
            _post(running, "/api/load", {"model": model})
        asyncio.run(_turns(report, running, 4 if quick else 20))
        asyncio.run(_interruptions(report, running, 3 if quick else 12))
        questions = b"".join(_spoken(running, question) + bytes(_RATE) for question in _QUESTIONS)
        asyncio.run(_first_words(report, running, "a synthetic voice", bytes(_RATE) + questions, 1 if quick else 3))
        asyncio.run(
            _first_words(report, running, "a recorded reading", _reading()[: 12 * _RATE if quick else None], 1 if quick else 2)
        )
    return report


async def _turns(report: Report, running: Gateway, rounds: int) -> None:
    marks: dict[str, list[float]] = {}
    for number in range(rounds):
        question = _spoken(running, _QUESTIONS[number % len(_QUESTIONS)])
        async with _session(running) as socket:
            await _settle(socket, max_output_tokens=40)
            at = await _timed(socket, question, "response.done")
        for name, seconds in at.items():
            marks.setdefault(name, []).append(1000 * seconds)
    report.samples["turns_ms"] = marks
    for name, what in (
        ("input_audio_buffer.speech_stopped", f"end of speech → its end is known ({_SILENCE} ms of it silence)"),
        ("conversation.item.input_audio_transcription.completed", "end of speech → its words are known"),
        ("response.output_audio_transcript.delta", "end of speech → first words of the answer"),
        ("response.output_audio.delta", "end of speech → first audio of the answer"),
    ):
        values = marks[name]
        spread = f"{percentile(values, 0.1):.0f} to {percentile(values, 0.9):.0f} (p10 to p90)"
        report.add(what, median(values), "ms", note=spread)


async def _interruptions(report: Report, running: Gateway, rounds: int) -> None:
    onsets, stops = [], []
    story, stop = _spoken(running, _STORY), _spoken(running, _STOP)
    for _ in range(rounds):
        async with _session(running) as socket:
            await _settle(socket, max_output_tokens=600)
            await _timed(socket, story, "response.output_audio.delta")
            at = await _timed(socket, stop, "response.done", from_onset=True)
        onsets.append(1000 * at["input_audio_buffer.speech_started"])
        stops.append(1000 * (at["response.done"] - at["input_audio_buffer.speech_started"]))
    report.samples.update(onset_ms=onsets, stop_ms=stops)
    report.add("speech begins → it is noticed", median(onsets), "ms", note=f"{min(onsets):.0f} to {max(onsets):.0f}")
    report.add("it is noticed → the answer has ended", median(stops), "ms", "≤ 200", f"{min(stops):.0f} to {max(stops):.0f}")


async def _first_words(report: Report, running: Gateway, who: str, speech: bytes, rounds: int) -> None:
    """A session that transcribes: how soon the first of a turn's words are told, and whether the last are still the same."""
    firsts, kept = [], []
    for _ in range(rounds):
        async with _session(running, "intent=transcription") as socket:
            await _settle(socket, "transcription")
            for turn in await _captions(socket, speech):
                firsts.append(1000 * (turn.first - turn.start))
                kept.append(words(turn.told) == words(turn.text))
    report.samples[f"first_words_ms, {who}"] = firsts
    spread = f"{percentile(firsts, 0.1):.0f} to {percentile(firsts, 0.9):.0f} (p10 to p90), {len(firsts)} turns"
    report.add(f"{who}: a turn's first sound → its first words are told", median(firsts), "ms", note=spread)
    report.add(f"{who}: turns whose words were all told as they came to be", 100 * sum(kept) / len(kept), "%")


@dataclass
class _Turn:
    """Seconds since the microphone was opened, what was told while it was spoken, and what was heard in the end."""

    start: float
    first: float = 0.0
    told: str = ""
    text: str = ""


async def _captions(socket: ClientConnection, speech: bytes) -> list[_Turn]:
    turns: dict[str, _Turn] = {}
    began = time.perf_counter()
    speaking = asyncio.create_task(_speak(socket, speech, began))
    end = began + len(speech) / _RATE + _SILENCE / 1000
    try:
        while time.perf_counter() < end or not all(turn.text for turn in turns.values()):
            try:
                event = json.loads(await asyncio.wait_for(socket.recv(), 1))
            except TimeoutError:
                continue
            item = event.get("item_id", "")
            match event["type"].rpartition(".")[2]:
                case "speech_started":
                    at = event["audio_start_ms"] * _RATE // 1000
                    turns[item] = _Turn((at + _loud(speech[at:])[0]) / _RATE)
                case "delta":
                    turns[item].first = turns[item].first or time.perf_counter() - began
                    turns[item].told += event["delta"]
                case "completed" if event["transcript"]:
                    turns[item].text = event["transcript"]
                case "completed":
                    del turns[item]
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    return list(turns.values())


async def _speak(socket: ClientConnection, speech: bytes, began: float) -> None:
    """At the pace of speech. Silence goes on after it, as with an open microphone."""
    sent = 0
    while True:
        piece = speech[sent : sent + _PIECE].ljust(_PIECE, b"\0")
        await _send(socket, "input_audio_buffer.append", audio=base64.b64encode(piece).decode())
        sent += _PIECE
        await asyncio.sleep(max(0.0, began + sent / _RATE - time.perf_counter()))


def _reading() -> bytes:
    """The recording of A Tale of Two Cities, at 24 kHz."""
    whole: bytes = samples(clip("two_cities.wav").read_bytes(), _RATE // 2).tobytes()
    return whole


async def _timed(socket: ClientConnection, speech: bytes, last: str, *, from_onset: bool = False) -> dict[str, float]:
    """Speaks, and gives the seconds from the end (or the beginning) of speech to the first event of each kind, up to `last`."""
    begin, end = _loud(speech)
    began = time.perf_counter()
    zero = began + (begin if from_onset else end) / _RATE
    seen: dict[str, float] = {}
    speaking = asyncio.create_task(_speak(socket, speech, began))
    try:
        async with asyncio.timeout(120):
            while last not in seen:
                event = json.loads(await socket.recv())
                kind = event["type"]
                seen.setdefault(kind, time.perf_counter())
                if from_onset and kind == last and event["response"]["status"] != "cancelled":
                    raise RuntimeError("the answer had ended before it was interrupted")
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    return {kind: moment - zero for kind, moment in seen.items()}


def _loud(speech: bytes) -> tuple[int, int]:
    """From which byte to which there is sound."""
    samples = array.array("h", speech)
    loud = [place for place, sample in enumerate(samples) if abs(sample) > 500]
    return 2 * loud[0], 2 * loud[-1]


def _session(running: Gateway, query: str = "model=gpt-realtime") -> connect:
    return connect(f"ws://127.0.0.1:{running.port}/v1/realtime?{query}", proxy=None, max_size=None)


async def _settle(socket: ClientConnection, kind: str = "realtime", **session: Any) -> None:
    turns = {"type": "server_vad", "silence_duration_ms": _SILENCE}
    audio = {"input": {"turn_detection": turns, "transcription": {"model": "whisper-1"}}}
    await _send(socket, "session.update", session={"type": kind, "audio": audio, **session})
    while json.loads(await socket.recv())["type"] != "session.updated":
        pass


async def _send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


def _spoken(running: Gateway, text: str) -> bytes:
    order = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm"}
    return _post(running, "/v1/audio/speech", order)


def _post(running: Gateway, path: str, body: dict[str, Any]) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        found: bytes = answer.read()
    return found
