"""`freehold talk` against a server that hears and speaks: from files, and with programs that play microphone and speaker."""

from __future__ import annotations

import array
import os
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.cli.sound import NoSound, read_wav, write_wav
from tests.cli.parts import NOWHERE, assert_one_line, run
from tests.conftest import Server
from tests.realtime.test_conversation import QUESTION
from tests.speech import word_errors

Say = Callable[[str], bytes]


def wav(path: Path, audio: bytes, rate: int = 24_000, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(audio)
    return path


def test_a_turn_from_a_file_is_answered_into_a_file(voiced: Server, say: Say, tmp_path: Path) -> None:
    question = wav(tmp_path / "in.wav", say(QUESTION))
    result = run(tmp_path, "talk", "--url", voiced.root, "--file", question, "-o", tmp_path / "out.wav", "--voice", "ash")
    assert result.code == 0, result.err
    asked, answer = result.out.strip().splitlines()
    assert asked.startswith("> ")
    assert word_errors(QUESTION, asked) <= 0.2
    assert answer == asked.removeprefix("> ")  # the played model repeats it
    assert 0.5 < len(read_wav(tmp_path / "out.wav")) / 48_000 < 10


def test_a_microphone_and_a_speaker_are_the_programs_that_are_there(voiced: Server, say: Say, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "heard").write_bytes(say(QUESTION))
    for name, does in (("arecord", f"exec cat {tmp_path}/heard"), ("aplay", f"exec cat > {tmp_path}/played")):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    result = run(tmp_path, "talk", "--url", voiced.root, env={"PATH": f"{programs}:{os.environ['PATH']}"})
    assert result.code == 0, result.err
    assert word_errors(QUESTION, result.out.splitlines()[0]) <= 0.2
    assert (tmp_path / "played").stat().st_size > 20_000


def test_what_is_missing_is_one_clear_line(voiced: Server, say: Say, tmp_path: Path) -> None:
    nothing = run(tmp_path, "talk", "--url", voiced.root, env={"PATH": str(tmp_path)})
    assert_one_line(nothing, 1)
    assert "arecord" in nothing.err
    assert "--file in.wav" in nothing.err
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF but no WAV")
    for arguments, code in (
        (("--file", broken), 1),
        (("-o", "x.wav"), 2),
        (("--file", tmp_path / "none.wav"), 1),
        (("--file", wav(tmp_path / "in.wav", say(QUESTION)), "--model", "nope"), 1),
    ):
        assert_one_line(run(tmp_path, "talk", "--url", voiced.root, *arguments), code)
    away = run(tmp_path, "talk", "--url", NOWHERE, "--file", tmp_path / "in.wav")
    assert_one_line(away, 1)
    assert "freehold up" in away.err


def test_files_of_any_rate_and_number_of_channels_become_what_is_sent(tmp_path: Path) -> None:
    rise = array.array("h", range(8000))
    double = array.array("h", [sample for value in rise for sample in (value, value)])
    assert read_wav(wav(tmp_path / "a.wav", rise.tobytes())) == rise.tobytes()
    assert read_wav(wav(tmp_path / "b.wav", double.tobytes(), channels=2)) == rise.tobytes()
    slow = array.array("h", read_wav(wav(tmp_path / "c.wav", rise.tobytes(), rate=8000)))
    assert len(slow) == 24_000
    assert list(slow[:7]) == [0, 0, 0, 1, 1, 1, 2]
    fast = array.array("h", read_wav(wav(tmp_path / "d.wav", rise.tobytes(), rate=48_000)))
    assert list(fast[:3]) == [0, 2, 4]
    write_wav(tmp_path / "e.wav", rise.tobytes())
    assert read_wav(tmp_path / "e.wav") == rise.tobytes()
    for path in (wav(tmp_path / "f.wav", bytes(100), width=1), wav(tmp_path / "g.wav", bytes(96_000) * 20 * 60)):
        with pytest.raises(NoSound):
            read_wav(path)
