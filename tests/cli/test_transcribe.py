"""`freehold transcribe` on recorded speech."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import wave
from pathlib import Path

import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.cli.parts import Result, assert_one_line, run
from tests.conftest import FREEHOLD, Server, until
from tests.speech import BECKETT, HEARS, TWO_CITIES, clip, word_errors


@pytest.fixture(scope="module")
def ears(server: Server, starters: Path) -> dict[str, str]:
    """The environment that names a server which hears."""
    store = Store(starters)
    if not store.has(HEARS):
        pull(store, HEARS, on_progress=lambda progress: None)
    return {"FREEHOLD_URL": server.root}


def transcribe(folder: Path, ears: dict[str, str], *arguments: object) -> Result:
    return run(folder, "transcribe", *arguments, env=ears)


def test_what_is_said_is_printed_and_how_far_it_is_is_told_beside_it(tmp_path: Path, ears: dict[str, str]) -> None:
    done = transcribe(tmp_path, ears, clip("two_cities.wav"))
    assert done.code == 0, done
    assert word_errors(TWO_CITIES, done.out) <= 0.05
    assert "of 00:44" in done.err


def test_subtitles_of_several_recordings_go_into_a_folder(tmp_path: Path, ears: dict[str, str]) -> None:
    shutil.copy(clip("beckett.wav"), tmp_path / "other.wav")
    done = transcribe(tmp_path, ears, clip("beckett.wav"), "other.wav", "--format", "srt", "-o", tmp_path)
    assert (done.code, done.out) == (0, ""), done
    first, second = ((tmp_path / name).read_text() for name in ("beckett.srt", "other.srt"))
    assert first == second
    assert first.startswith("1\n00:00:0")
    assert " --> " in first


def test_json_has_the_segments_of_each_recording(tmp_path: Path, ears: dict[str, str]) -> None:
    done = transcribe(tmp_path, ears, clip("beckett.wav"), "--language", "en", "--json")
    [row] = json.loads(done.out)["transcripts"]
    assert word_errors(BECKETT, row["text"]) <= 0.2
    assert row["seconds"] == pytest.approx(9.96, abs=0.05)
    assert row["segments"][0]["start"] < row["segments"][0]["end"] <= row["segments"][-1]["end"]


def test_how_far_a_long_recording_is_can_be_seen(tmp_path: Path, ears: dict[str, str], server: Server) -> None:
    """Twenty minutes of it, whose client leaves when that was seen."""
    with wave.open(str(clip("beckett.wav"))) as source, wave.open(str(tmp_path / "long.wav"), "wb") as sink:
        sink.setparams(source.getparams())
        speech = source.readframes(source.getnframes())
        for _ in range(120):
            sink.writeframes(speech)
    command = [FREEHOLD, "transcribe", str(tmp_path / "long.wav")]
    with subprocess.Popen(command, env={**os.environ, **ears}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as talking:
        table = until(lambda: run(tmp_path, "ps", env=ears).out if files(server) else None)
        [file] = files(server)
        talking.kill()
    assert re.search(r" ready, transcribing \d+ of 20 min ", table), table
    assert 0 < file["heard_s"] < file["claimed_s"] == pytest.approx(1_196, abs=10)
    until(lambda: not files(server))


def files(server: Server) -> list[dict[str, float]]:
    workers = server.get("/api/ps")[2]["workers"]
    return [file for worker in workers if worker["model"] == HEARS for file in worker["files"] if file["heard_s"]]


def test_what_cannot_be_heard_is_told_with_its_name(tmp_path: Path, ears: dict[str, str]) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    assert_one_line(transcribe(tmp_path, ears, "notes.txt"), 1, "notes.txt", "not audio")
    assert_one_line(transcribe(tmp_path, ears, "nothing.wav"), 1, "nothing.wav", "cannot be read")
    assert_one_line(transcribe(tmp_path, ears, clip("beckett.wav"), "--language", "de"), 1, "beckett.wav", "'de'")
    assert_one_line(transcribe(tmp_path, ears, "a.wav", "b.wav", "-o", "c.txt"), 2, "c.txt")
