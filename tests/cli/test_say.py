"""`freehold say`: a file, standard output, or a player; what it is told, and what it says when it cannot."""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.cli.parts import NOWHERE, assert_one_line, run
from tests.conftest import Server, fake_model, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("speech")
    fake_model(data)
    pull(Store(data), "espeak-ng", on_progress=lambda progress: None)
    with serving(data, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as running:
        yield running


def seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def silent(folder: Path) -> dict[str, str]:
    """An environment in which no player is found."""
    programs = folder / "no-players"
    programs.mkdir(exist_ok=True)
    return {"PATH": str(programs)}


def with_player(folder: Path, script: str) -> dict[str, str]:
    """An environment in which the one player is that script."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "ffplay").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "ffplay").chmod(0o755)
    return {"PATH": f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin"}


@pytest.mark.parametrize("name", ["a.mp3", "a.opus", "a.ogg", "a.aac", "a.flac", "a.wav"])
def test_the_file_is_of_the_format_that_its_name_says(server: Server, tmp_path: Path, name: str) -> None:
    result = run(tmp_path, "say", "Good morning.", "-o", name, "--url", server.root)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert 0.4 < seconds(tmp_path / name) < 3
    kinds = {b"OggS": "ogg opus", b"fLaC": "flac", b"RIFF": "wav"}
    head = (tmp_path / name).read_bytes()[:4]
    assert name.partition(".")[2] in kinds.get(head, "mp3 aac")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_wav_file_has_its_lengths(server: Server, tmp_path: Path) -> None:
    run(tmp_path, "say", "Good morning.", "-o", "a.wav", "--url", server.root)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getframerate() == 24_000
        assert file.getnframes() * 2 + 44 == (tmp_path / "a.wav").stat().st_size


def test_what_is_piped_in_is_spoken_with_the_voice_and_speed(server: Server, tmp_path: Path) -> None:
    words = "One two three four five six seven eight nine ten."
    for name, options in (("usual", ()), ("fast", ("--speed", "2", "--voice", "de"))):
        result = run(tmp_path, "say", "-o", f"{name}.wav", *options, "--url", server.root, typed=words)
        assert result.code == 0, result
    assert seconds(tmp_path / "fast.wav") < 0.8 * seconds(tmp_path / "usual.wav")


def test_without_a_player_it_writes_out_mp3_and_says_so(server: Server, tmp_path: Path) -> None:
    (tmp_path / "out.mp3").write_text("mine")
    result = run(tmp_path, "say", "Good morning.", "--url", server.root, env=silent(tmp_path))
    assert result.out == "Wrote out-2.mp3; no player (ffplay, mpv, aplay, afplay) was found.\n"
    assert (tmp_path / "out.mp3").read_text() == "mine"
    assert seconds(tmp_path / "out-2.mp3") > 0.4


def test_a_player_is_given_the_sound(server: Server, tmp_path: Path) -> None:
    result = run(
        tmp_path, "say", "Good morning.", "--url", server.root, env=with_player(tmp_path, f"cat > {tmp_path}/heard.wav")
    )
    assert (result.code, result.out, result.err) == (0, "", "")
    with av.open(io.BytesIO((tmp_path / "heard.wav").read_bytes())) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 10_000


def test_a_player_that_fails_is_told_of(server: Server, tmp_path: Path) -> None:
    script = "echo no sound card >&2; exit 3"
    result = run(tmp_path, "say", "Good morning.", "--url", server.root, env=with_player(tmp_path, script))
    assert_one_line(result, 1, "ffplay", "no sound card", "-o speech.mp3")


def test_mistakes_are_one_line_each(server: Server, tmp_path: Path) -> None:
    at = ("--url", server.root)
    assert_one_line(run(tmp_path, "say", "", *at), 2, "empty")
    assert_one_line(run(tmp_path, "say", *at, typed=""), 2, "empty")
    assert_one_line(run(tmp_path, "say", "Hi.", "--speed", "9", *at), 2, "--speed")
    assert_one_line(run(tmp_path, "say", "Hi.", "--voice", "nobody", "-o", "a.mp3", *at), 1, "nobody", "alloy")
    assert_one_line(run(tmp_path, "say", "Hi.", "-o", "no/such/folder/a.mp3", *at), 1, "No such file")
    assert_one_line(run(tmp_path, "say", "Hi.", "-o", "a.mp3", "--url", NOWHERE), 1, "No server", "freehold up")
    assert not list(tmp_path.iterdir())


def test_the_voices_are_listed(server: Server, tmp_path: Path) -> None:
    result = run(tmp_path, "say", "--voices", "--url", server.root)
    assert "en-gb" in result.out
    assert "f3" in result.out.splitlines()[-1]
