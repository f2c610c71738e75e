"""Speech as it is spoken: turns are found, heard and told in order, over the worker's own WebSocket."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection

from freehold.workers.transcription.cutting import Piece
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import FAMILIES, Asked, Heard, Model
from freehold.workers.transcription.live import Live
from freehold.workers.transcription.recognise import Recogniser
from freehold.workers.transcription.threads import Urgency
from freehold.workers.transcription.vad import Samples
from tests.speech import BECKETT, clip, word_errors
from tests.workers.hearing import hearing, samples

Event = dict[str, Any]


@pytest.fixture(scope="module")
def socket(starters: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with hearing(starters, tmp_path_factory.mktemp("live")) as path:
        yield path


@pytest.fixture(scope="module")
def beckett() -> np.ndarray:
    """At 24 kHz, with a second of silence after it."""
    return np.concatenate((samples(clip("beckett.wav").read_bytes(), 24_000), np.zeros(24_000, np.int16)))


async def update(client: ClientConnection, **session: Any) -> Event:
    await client.send(json.dumps({"type": "session.update", "session": session}))
    return await told(client)


async def told(client: ClientConnection) -> Event:
    return dict(json.loads(await asyncio.wait_for(client.recv(), 30)))


async def until_completed(client: ClientConnection) -> list[Event]:
    events = [await told(client)]
    while events[-1]["type"] != "completed":
        events.append(await told(client))
    return events


async def send(client: ClientConnection, pcm: bytes, step: int = 4801) -> None:
    for start in range(0, len(pcm), step):
        await client.send(pcm[start : start + step])


async def test_turns_are_found_and_heard_in_order(client: ClientConnection, beckett: np.ndarray) -> None:
    assert await update(client, turn_detection={"silence_duration_ms": 400}) == {"type": "session.updated"}
    await send(client, beckett.tobytes())
    events: list[Event] = []
    while not events or events[-1].get("audio_end_ms", 0) < 8_500 or events[-1]["type"] != "completed":
        events.append(await told(client))
    turns = [event for event in events if event["type"] == "completed"]
    assert len(turns) >= 2
    assert word_errors(BECKETT, " ".join(turn["text"] for turn in turns)) <= 0.25
    started = [event["audio_start_ms"] for event in events if event["type"] == "speech_started"]
    stopped = [event["audio_end_ms"] for event in events if event["type"] == "speech_stopped"]
    assert len(started) == len(stopped) == len(turns)
    assert [turn["audio_end_ms"] for turn in turns] == stopped
    assert all(begin < end for begin, end in zip(started, stopped, strict=True))
    assert started + stopped == sorted(started) + sorted(stopped)
    assert all(
        turn["seconds"] == pytest.approx((turn["audio_end_ms"] - turn["audio_start_ms"]) / 1000, abs=2e-3) for turn in turns
    )


async def test_without_turn_detection_a_commit_ends_what_was_said(client: ClientConnection, beckett: np.ndarray) -> None:
    await update(client, turn_detection=None)
    await send(client, beckett.tobytes())
    await client.send(json.dumps({"type": "commit"}))
    [completed] = await until_completed(client)
    assert word_errors(BECKETT, completed["text"]) <= 0.1
    assert (completed["audio_start_ms"], completed["seconds"]) == (0, pytest.approx(len(beckett) / 24_000, abs=0.05))
    await client.send(json.dumps({"type": "commit"}))
    [empty] = await until_completed(client)
    assert (empty["text"], empty["seconds"]) == ("", 0)


async def test_what_is_cleared_is_not_heard(client: ClientConnection, beckett: np.ndarray) -> None:
    await update(client, turn_detection=None)
    await send(client, beckett.tobytes())
    await client.send(json.dumps({"type": "clear"}))
    await client.send(json.dumps({"type": "commit"}))
    assert [(event["type"], event.get("text")) for event in await until_completed(client)] == [
        ("cleared", None),
        ("completed", ""),
    ]


async def test_what_is_being_said_is_told_before_it_ends(client: ClientConnection, beckett: np.ndarray) -> None:
    """Six sentences, over and over, until words have come twice: then there is an end of it, and they make what was said."""
    await update(client, turn_detection=None, deltas=True)
    deltas: list[Event] = []
    for start in range(0, 10 * len(beckett), 4_800):
        telling = asyncio.create_task(told(client))
        await client.send(beckett.take(range(start, start + 4_800), mode="wrap").tobytes())
        if (await asyncio.wait({telling}, timeout=0.1))[0]:  # a little faster than it is spoken
            deltas.append(telling.result())
        telling.cancel()
        if len(deltas) == 2:
            break
    assert {event["type"] for event in deltas} == {"delta"}
    assert deltas[0]["text"].startswith("Ever")
    await client.send(json.dumps({"type": "commit"}))
    *rest, completed = await until_completed(client)
    assert word_errors(completed["text"], "".join(event["text"] for event in (*deltas, *rest))) <= 0.3


async def test_the_words_of_a_turn_come_after_those_of_the_one_before(client: ClientConnection, beckett: np.ndarray) -> None:
    await update(client, turn_detection={"silence_duration_ms": 400}, deltas=True)
    await send(client, beckett.tobytes())
    events: list[Event] = []
    while not events or events[-1].get("audio_end_ms", 0) < 8_500 or events[-1]["type"] != "completed":
        events.append(await told(client))
    text, turns = "", 0
    for event in events:
        if event["type"] == "delta":
            text += event["text"]
        elif event["type"] == "completed":
            assert word_errors(event["text"], text) <= 0.5
            text, turns = "", turns + 1
    assert turns >= 2
    assert text == ""


async def test_a_commit_ends_a_turn_that_silence_has_not(client: ClientConnection, beckett: np.ndarray) -> None:
    await send(client, beckett[: 24_000 * 2].tobytes())
    await client.send(json.dumps({"type": "commit"}))
    events = await until_completed(client)
    assert [event["type"] for event in events] == ["speech_started", "speech_stopped", "completed"]
    assert "ever tried" in events[-1]["text"].lower()


@pytest.mark.parametrize("form", ["g711_ulaw", "g711_alaw"])
async def test_a_telephone_is_heard(client: ClientConnection, form: str) -> None:
    codec = {"g711_ulaw": "pcm_mulaw", "g711_alaw": "pcm_alaw"}[form]
    await update(client, rate=8_000, format=form, turn_detection=None)
    await send(client, samples(clip("beckett.wav").read_bytes(), 8_000, codec).tobytes(), 160)
    await client.send(json.dumps({"type": "commit"}))
    assert word_errors(BECKETT, (await until_completed(client))[-1]["text"]) <= 0.2


@pytest.mark.parametrize(
    ("frame", "param"),
    [
        ("{", None),
        ("[]", None),
        ('{"type": "sing"}', "type"),
        ('{"type": "session.update"}', "type"),
        ('{"type": "session.update", "session": {"rate": 0}}', "rate"),
        ('{"type": "session.update", "session": {"rate": true}}', "rate"),
        ('{"type": "session.update", "session": {"format": "mp3"}}', "format"),
        ('{"type": "session.update", "session": {"language": "de"}}', "language"),
        ('{"type": "session.update", "session": {"turn_detection": []}}', "turn_detection"),
        ('{"type": "session.update", "session": {"turn_detection": {"threshold": 2}}}', "turn_detection.threshold"),
    ],
)
async def test_a_wrong_frame_is_told_and_ends_nothing(client: ClientConnection, frame: str, param: str | None) -> None:
    await client.send(frame)
    error = await told(client)
    assert (error["type"], error["param"]) == ("error", param)
    assert await update(client) == {"type": "session.updated"}


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_leaves_in_the_middle_of_a_file_ends_its_work(socket: Path, streamed: bool) -> None:
    """Ten minutes of a recording, or an hour in which nothing is said, which nobody waits for."""
    sound = bytes(2 * 16_000 * 3600) if streamed else samples(clip("beckett.wav").read_bytes(), 16_000).tobytes() * 60
    kind = (16, 1, 1, 16_000, 32_000, 2, 16)
    head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + len(sound), b"WAVEfmt ", *kind, b"data", len(sound))
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\n%s\r\n' % str(streamed).lower().encode()
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + head + sound + b"\r\n--b--\r\n"
    for _ in range(2):
        _, writer = await asyncio.open_unix_connection(str(socket))
        request = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: w\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        writer.write(f"{request}Content-Length: {len(form)}\r\n\r\n".encode() + form)
        await writer.drain()
        await becomes(lambda: decoders(socket))
        writer.transport.abort()
        await becomes(lambda: not decoders(socket))


def socket_of(frames: asyncio.Queue[Any], told: list[Any]) -> Any:
    """A WebSocket whose client says these frames, and what it is told."""

    async def accept() -> None:
        pass

    async def tell(event: Any) -> None:
        told.append(event)

    return types.SimpleNamespace(accept=accept, receive=frames.get, send_json=tell, close=tell)


class Slow(Model):
    """Hears nothing, and not before it may."""

    may: threading.Event
    heard = 0

    def recognise(self, samples: Samples, asked: Asked) -> Heard:
        self.heard += 1
        assert self.may.wait(30)
        return Heard("")


@pytest.mark.parametrize("clears", [False, True])
async def test_nothing_is_recognised_for_who_has_left_or_cleared(beckett: np.ndarray, clears: bool) -> None:
    model = Slow(FAMILIES["nemo"], None, (), False, 3.0)
    model.may = threading.Event()
    recogniser = Recogniser(model, 1)
    frames: asyncio.Queue[Any] = asyncio.Queue()
    session = {"type": "session.update", "session": {"turn_detection": None}}
    said = [{"bytes": beckett[start : start + 4800].tobytes()} for start in range(0, len(beckett), 4800)]
    ends = [] if clears else [{"text": '{"type":"commit"}'}]
    for frame in (
        {"text": json.dumps(session)},
        *said,
        *ends,
        *said,
        *ends,
        *([{"text": '{"type":"clear"}'}] if clears else ()),
    ):
        frames.put_nowait({"type": "websocket.receive", **frame})
    told: list[Event] = []
    client = socket_of(frames, told)
    listening = asyncio.create_task(Live(recogniser).listen(client))
    await becomes(lambda: frames.empty() and model.heard)
    leaving = {"type": "websocket.disconnect"}
    if clears:
        await becomes(lambda: told[-1:] == [{"type": "cleared"}])
    else:
        frames.put_nowait(leaving)
        await asyncio.wait_for(listening, 30)
    model.may.set()
    last = recogniser.submit(Piece(0, 1, 0, np.zeros(RATE, np.float32)), urgency=Urgency.FILE)
    await asyncio.to_thread(last.result, 30)
    assert model.heard == 2  # what it was at, and the last, which comes after all that is spoken
    frames.put_nowait(leaving)
    await asyncio.wait_for(listening, 30)
    recogniser.close()


class Failing(Model):
    def recognise(self, samples: Samples, asked: Asked) -> Heard:
        raise ValueError("These are a user's words.")


async def test_a_client_is_told_that_the_engine_failed(beckett: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    recogniser = Recogniser(Failing(FAMILIES["nemo"], None, (), False, 28.0), 1)
    frames: asyncio.Queue[Any] = asyncio.Queue()
    whole = {"type": "session.update", "session": {"turn_detection": None}}
    for frame in ({"text": json.dumps(whole)}, {"bytes": beckett[: 24_000 * 3].tobytes()}, {"text": '{"type":"commit"}'}):
        frames.put_nowait({"type": "websocket.receive", **frame})
    told: list[Any] = []
    await asyncio.wait_for(Live(recogniser).listen(socket_of(frames, told)), 30)
    assert told[1:] == [{"type": "error", "message": None, "param": None, "code": "engine_error"}, 1011]
    logged = capfd.readouterr().err
    assert "ValueError in recognise" in logged
    assert "words" not in logged
    recogniser.close()


async def becomes(condition: Callable[[], Any]) -> None:
    """Waits for it, at most 30 seconds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def decoders(socket: Path) -> set[str]:
    """The decoders that the worker at this socket runs."""
    listed = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
    worker = next(line.split()[0] for line in listed if str(socket) in line)
    return {line.split()[0] for line in listed if line.split()[1] == worker and "transcription.decode" in line}
