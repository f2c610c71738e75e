"""Voices that are told apart: across the chunks of a long recording, and in the speech that is put into words."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from freehold.workers.diarization import telling
from freehold.workers.diarization.http import _Teller
from freehold.workers.diarization.telling import Task
from freehold.workers.diarization.voices import Voices
from freehold.workers.serve import Refused
from freehold.workers.transcription.cutting import Cut, Cutter, Tape
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.turns import Turns
from freehold.workers.transcription.vad import Span
from tests.speech import clip
from tests.workers import speakers
from tests.workers.hearing import samples


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def test_a_voice_keeps_its_name_and_a_new_one_has_the_next_letter() -> None:
    voices = Voices({"Ada": vector(0, 0, 2), "B": vector(0, 0, -1)}, 0.5)
    assert voices.name([vector(1, 0, 0), vector(0.1, 0, 3), None]) == ["A", "Ada", "Ada"]
    assert voices.name([vector(0, 5, 0), vector(2, 0.3, 0)]) == ["C", "A"]
    assert voices.name([vector(-1, 0, 0), vector(0, 0, 0)]) == ["D", "E"]
    assert Voices({}, 0.5).name([None]) == ["A"]


def parted(turns: list[tuple[float, float, str]], start: float, end: float) -> list[tuple[float, float, str]]:
    spans = Turns(turns).parted(Span(round(start * RATE), round(end * RATE)))
    return [(span.start / RATE, span.end / RATE, span.speaker) for span in spans]


def test_speech_is_parted_where_another_begins_to_speak() -> None:
    turns = [(1.0, 4.0, "A"), (5.0, 8.0, "B"), (8.0, 9.0, "A")]
    assert parted(turns, 0, 3) == [(0, 3, "A")]
    assert parted(turns, 2, 8.5) == [(2, 4.5, "A"), (4.5, 8, "B"), (8, 8.5, "A")]
    assert parted(turns, 2, 8.1) == [(2, 4.5, "A"), (4.5, 8.1, "B")]  # too little of the last
    assert parted(turns, 4.4, 7) == [(4.4, 7, "B")]  # and of the first
    assert parted(turns, 20, 21) == [(20, 21, "A")]
    assert parted([], 1, 2) == [(1, 2, "")]


def test_who_interrupts_is_heard_and_who_goes_on_afterwards_too() -> None:
    turns = [(0.0, 10.0, "A"), (4.0, 5.0, "B")]
    assert parted(turns, 1, 9) == [(1, 4, "A"), (4, 5, "B"), (5, 9, "A")]
    assert parted(turns[::-1], 1, 9) == parted(turns, 1, 9)


def test_pieces_are_of_one_speaker() -> None:
    tape = Tape()
    tape.add(np.zeros(10 * RATE, np.float32))
    cutter = Cutter(Cut(), tape)
    spans = [Span(RATE * start, RATE * (start + 1), speaker) for start, speaker in ((1, "A"), (2, "A"), (3, "B"), (5, "A"))]
    found = [piece for span in spans for piece in cutter.add(span)] + list(cutter.end())
    assert [(piece.start, piece.end, piece.speaker) for piece in found] == [(1, 3, "A"), (3, 4, "B"), (5, 6, "A")]


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[1]", '[["x", 1, "A"]]', '[[1, NaN, "A"]]', '[[0, 1e999, "A"]]', '[[-1, 1, "A"]]']
)
def test_turns_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        Turns.parsed(text)


def test_voices_are_the_same_in_all_chunks_of_a_long_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_CHUNK", 20 * RATE)
    monkeypatch.setattr(telling, "_SEARCHED", 5 * RATE)
    speakers.diariser(tmp_path)
    voice = samples(clip("beckett.wav").read_bytes(), RATE).astype(np.float32) / 32768
    whole = np.concatenate([voice, speakers.marked(voice)] * 4)  # 80 seconds
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes((whole.clip(-1, 1) * 32767).astype("<i2").tobytes())
    (tmp_path / "long.wav").write_bytes(file.getvalue())
    task = Task(str(tmp_path / "segmentation.onnx"), str(tmp_path / "embedding.onnx"), 1, 3600, 0.5)
    with (tmp_path / "long.wav").open("rb") as opened:
        chunks = list(telling._told(task, opened))
    assert len(chunks) >= 3
    turns = [turn for chunk in chunks for turn in chunk]
    assert {name for _, _, name in turns} == {"A", "B"}
    length = len(voice) / RATE
    for start, end, name in turns:
        middle = (start + end) / 2
        assert name == ("A", "B")[int(middle / length) % 2]
    assert sum(end - start for start, end, _ in turns) >= 0.8 * len(whole) / RATE


def test_names_of_people_are_on_no_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[list[str]] = []

    def start(command: list[str], **_: object) -> None:
        commands.append(command)

    monkeypatch.setattr("freehold.workers.diarization.http.subprocess.Popen", start)
    (tmp_path / "voice").write_bytes(b"x")
    with (tmp_path / "voice").open("rb") as file:
        _Teller(Task("a", "b", 1, 10.0, 0.5), file, {"Ada Lovelace": file})._complaint.close()
    assert commands
    assert "Ada" not in " ".join(commands[0])
