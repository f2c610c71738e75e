"""The families of the catalogue, each as a tiny pipeline of the real code; and numbers that are no picture."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from freehold.fleet.environments import Environment
from freehold.workers.images.canvas import Grid, picture
from freehold.workers.serve import Refused


def test_every_family_draws_shows_edits_and_varies(engine: Environment, tmp_path: Path) -> None:
    script = Path(__file__).with_name("families.py")
    done = subprocess.run(
        [engine.python, "-I", script, tmp_path], check=False, capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {row.pop("family"): row for row in map(json.loads, done.stdout.splitlines())}
    assert list(found) == ["sdxl", "sd3", "qwen-image", "z-image"]
    for name, row in found.items():
        assert row["words"] == row["edit"] == row["variation"] == [64, 64], name
        assert row["hole"] == [16, 16, 48, 48], name
        assert row["partials"] == 1, name
    assert (found["sdxl"]["reads"], found["z-image"]["reads"]) == (77, 512)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 3)), np.full((4, 4, 3), np.nan), np.full((4, 4, 3), np.inf)])
def test_numbers_that_are_no_picture_are_an_error(pixels: np.ndarray) -> None:
    with pytest.raises(Refused) as caught:
        picture(pixels)
    assert (caught.value.status, caught.value.code) == (500, "bad_picture")


@pytest.mark.parametrize(
    ("side", "multiple", "asked", "nearest"),
    [
        (512, 8, (512, 512), (512, 512)),
        (512, 8, (515, 700), (512, 704)),
        (1024, 16, (1, 1), (64, 64)),
        (1024, 16, (99999, 99999), (1440, 1440)),
        (1024, 16, (99999, 10), (8192, 64)),
    ],
)
def test_the_nearest_size_is_one_that_the_model_draws(
    side: int, multiple: int, asked: tuple[int, int], nearest: tuple[int, int]
) -> None:
    grid = Grid(side, multiple)
    width, height = grid.near(*asked)
    assert (width % multiple, height % multiple) == (0, 0)
    assert width * height <= grid.most_pixels
    assert grid.check(width, height) == (width, height)
    assert abs(width - nearest[0]) <= multiple + nearest[0] * 0.1
