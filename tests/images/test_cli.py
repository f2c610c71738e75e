"""`freehold draw`: words to a file, on the same API as everybody else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from PIL import Image

from tests.cli.parts import Result, assert_one_line, environment
from tests.conftest import FREEHOLD, Server


def draw(server: Server, folder: Path, *arguments: str) -> Result:
    done = subprocess.run(
        [FREEHOLD, "draw", *arguments, "--url", server.root],
        check=False,
        env=environment(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_a_picture_is_a_new_file_whose_path_is_printed(drawer: Server, tmp_path: Path) -> None:
    for name in ("a-lighthouse-in-fog.png", "a-lighthouse-in-fog-2.png"):
        done = draw(drawer, tmp_path, "A lighthouse, in fog!", "--steps", "2")
        assert done.code == 0, done
        assert done.out == f"{tmp_path / name}\n"
        with Image.open(tmp_path / name) as image:
            assert image.size == (64, 64)
        assert "step" in done.err
        assert "about " in done.err  # how long it will take


def test_format_size_and_seed_are_those_that_were_asked_for(drawer: Server, tmp_path: Path) -> None:
    options = ("--size", "128x64", "--seed", "5", "--steps", "2", "-n", "2", "--json")
    done = draw(drawer, tmp_path, "x", "-o", "out.webp", *options)
    pictures = json.loads(done.out)["pictures"]
    assert [each["path"] for each in pictures] == [str(tmp_path / name) for name in ("out-1.webp", "out-2.webp")]
    assert [each["seed"] for each in pictures] == [5, 6]
    for each in pictures:
        with Image.open(each["path"]) as image:
            assert (image.format, image.size, each["size"]) == ("WEBP", (128, 64), "128x64")


def test_what_cannot_be_drawn_is_one_line(drawer: Server, tmp_path: Path) -> None:
    assert_one_line(draw(drawer, tmp_path, "x", "--size", "65x64"), 1, "The nearest is")
    assert_one_line(draw(drawer, tmp_path, "x", "--model", "fake"), 1, "does not draw")
    assert draw(drawer, tmp_path, "x", "-o", "out.gif").code == 2
    assert draw(drawer, tmp_path, "  ").code == 2
    assert_one_line(draw(drawer, tmp_path, "x", "-o", "/nowhere/x.png", "--steps", "1"), 1, "cannot be written")
    assert list(tmp_path.iterdir()) == []
