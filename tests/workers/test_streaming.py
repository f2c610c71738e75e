"""A model that hears as it is spoken to: words come with the sound, stay as they are, and make what was said in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection

from freehold.workers.transcription import families
from freehold.workers.transcription.cutting import Piece
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Asked, Stream
from freehold.workers.transcription.streamed import _Piece
from tests.speech import clip
from tests.workers import ears
from tests.workers.hearing import running, samples
from tests.workers.test_live import Event, told, until_completed, update

FRAME = 1_600  # samples: a tenth of a second


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("model")
    return {"family": "streaming-transducer", "files": ears.streaming(folder), "folder": str(folder)}


@pytest.fixture(scope="module")
def socket(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(Path(options["folder"]), options, tmp_path_factory.mktemp("streaming")) as path:
        yield path


@pytest.fixture(scope="module")
def beckett() -> np.ndarray:
    return np.concatenate((samples(clip("beckett.wav").read_bytes(), RATE), np.zeros(2 * RATE, np.int16)))


async def say(client: ClientConnection, sound: np.ndarray) -> None:
    for start in range(0, len(sound), FRAME):
        await client.send(sound[start : start + FRAME].tobytes())


async def test_words_come_while_they_are_spoken_and_make_the_text(client: ClientConnection, beckett: np.ndarray) -> None:
    await update(client, rate=RATE, turn_detection=None, deltas=True)
    first = asyncio.create_task(told(client))
    sent = 0
    while not first.done():  # no end is told before the first word is
        assert sent < len(beckett)
        await client.send(beckett[sent : sent + FRAME].tobytes())
        sent += FRAME
        await asyncio.wait({first}, timeout=0.05)
    await say(client, beckett[sent:])
    await client.send(json.dumps({"type": "commit"}))
    *deltas, completed = [await first, *await until_completed(client)]
    assert {event["type"] for event in deltas} == {"delta"}
    assert "".join(event["text"] for event in deltas) == completed["text"]
    assert set(completed["text"].split()) == {"one", "two", "three"}


async def test_each_turn_has_a_stream_of_its_own(client: ClientConnection, beckett: np.ndarray) -> None:
    await update(client, rate=RATE, turn_detection={"silence_duration_ms": 400}, deltas=True)
    await say(client, beckett)
    events: list[Event] = []
    while not events or events[-1].get("audio_end_ms", 0) < 8_500 or events[-1]["type"] != "completed":
        events.append(await told(client))
    text, turns = "", []
    for event in events:
        if event["type"] == "delta":
            text += event["text"]
        elif event["type"] == "completed":
            turns.append((event["text"], text))
            text = ""
    assert len(turns) >= 2
    assert all(text == deltas for text, deltas in turns)
    await update(client, rate=RATE, turn_detection={"silence_duration_ms": 400})
    await say(client, beckett)
    again: list[Event] = []
    while len([event for event in again if event["type"] == "completed"]) < len(turns):
        again.append(await told(client))
    assert not [event for event in again if event["type"] == "delta"]
    assert [event["text"] for event in again if event["type"] == "completed"] == [text for text, _ in turns]


def test_a_stream_hears_what_a_whole_piece_says_whatever_comes_first(options: dict[str, Any], beckett: np.ndarray) -> None:
    model = families.load(Path(options["folder"]), options, 1)
    sound = beckett.astype(np.float32) / 32768
    whole = model.recognise(sound, Asked())
    assert len(whole.tokens) == len(whole.starts) >= 8
    piece = _Piece(Stream(model.engine), 0, 0)
    for start in range(0, len(sound), FRAME):
        piece.give(sound[start : start + FRAME])
        if start == 3 * RATE:
            assert whole.text.strip().startswith(piece.hear())
    said = piece.finish(Piece(0, 1, 0, sound))  # before what was given last was heard
    assert said.text == whole.text.strip()
    assert piece.hear() == ""
