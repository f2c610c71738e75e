"""Where a model that draws lies, and how long its pictures take: pure decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.hardware import canvas, pace
from freehold.hardware.budget import Budget, Device
from freehold.hardware.canvas import Canvas
from freehold.hardware.misfit import Misfit
from freehold.hardware.pace import Denoiser, Pace, Paces
from freehold.hardware.plan import HOST, Knobs, Place, Plan

GIB = 2**30
SDXL = Canvas(parameters=3_500_000_000, largest=2_570_000_000, pixels=1024 * 1024, unet=True)
FLUX = Canvas(parameters=16_900_000_000, largest=11_900_000_000, pixels=1024 * 1024, unet=False)


def budget(host: float, *gpus: tuple[str, float], unified: bool = False) -> Budget:
    devices = [Device(name, name.partition(":")[0], int(size * GIB), int(size * GIB), unified) for name, size in gpus]
    return Budget((Device(HOST, "cpu", int(host * GIB), int(host * GIB)), *devices), 8)


@pytest.mark.parametrize(
    ("model", "room", "place"),
    [
        (SDXL, budget(32, ("cuda:0", 24)), Place("cuda:0", "float16")),
        (FLUX, budget(64, ("cuda:0", 80)), Place("cuda:0", "bfloat16")),
        (FLUX, budget(64, ("cuda:0", 26)), Place("cuda:0", "bfloat16", offload=True)),
        (FLUX, budget(128, ("cuda:0", 8)), Place("cpu", "float32")),
        (SDXL, budget(32), Place("cpu", "float32")),
        (SDXL, budget(12), Place("cpu", "bfloat16")),
        (SDXL, budget(32, ("rocm:0", 16)), Place("cuda:0", "float16")),
        (SDXL, budget(32, ("metal:0", 24), unified=True), Place("mps", "float16")),
        (SDXL, budget(32, ("vulkan:0", 24)), Place("cpu", "float32")),
    ],
)
def test_a_model_lies_in_the_fastest_place_that_holds_it(model: Canvas, room: Budget, place: Place) -> None:
    found = canvas.plan(model, room, Knobs())
    assert isinstance(found, Plan)
    assert found.place == place
    assert not room.shortfalls(found.memory)
    assert found.slots == 1


def test_what_fits_nowhere_is_refused_with_the_figures() -> None:
    found = canvas.plan(FLUX, budget(16, ("cuda:0", 8)), Knobs())
    assert isinstance(found, Misfit)
    assert found.needed_bytes > 2 * FLUX.parameters
    assert "16.0 GiB on host, 8.0 GiB on cuda:0" in found.reason


def test_weights_are_counted_in_the_format_they_are_loaded_in() -> None:
    on_host = canvas.plan(SDXL, budget(32), Knobs())
    assert isinstance(on_host, Plan)
    assert on_host.on(HOST) >= 4 * SDXL.parameters
    half = canvas.plan(SDXL, budget(12), Knobs())
    assert isinstance(half, Plan)
    assert 2 * SDXL.parameters <= half.on(HOST) < 4 * SDXL.parameters


def test_a_manifest_that_does_not_know_its_parts_is_planned_otherwise() -> None:
    known: dict[str, Any] = {"size": 512, "components": {"unet": {"parameters": 7}, "vae": {"parameters": 3}}}
    assert Canvas.of(known) == Canvas(10, 7, 512 * 512, True)
    assert Canvas.of({"memory_bytes": 1}) is None


def test_an_estimate_comes_from_the_nearest_size_that_was_measured() -> None:
    known = [Pace(512 * 512, 2.0, 4.0), Pace(64 * 64, 0.1, 0.1)]
    assert pace.estimate([], 100, 1) is None
    found = pace.estimate(known, 512 * 512, 10)
    assert found is not None
    assert (found.seconds, found.measured, str(found)) == (24.0, True, "about 24 s")
    larger = pace.estimate(known, 1024 * 512, 10)
    assert larger is not None
    assert larger.seconds == 48.0


def test_a_first_estimate_says_that_it_is_one() -> None:
    sd15 = Denoiser(860_000_000, unet=True, twice=True)
    on_cpu = pace.first_estimate(sd15, 512 * 512, 25, gpu=False, cores=2)
    on_gpu = pace.first_estimate(sd15, 512 * 512, 25, gpu=True, cores=2)
    assert 60 < on_cpu.seconds < 3600
    assert 0.1 < on_gpu.seconds < 30
    assert "first estimate" in str(on_cpu)


def test_paces_are_kept_by_model_size_and_machine(tmp_path: Path) -> None:
    paces = Paces(tmp_path, "machine")
    paces.note("model", Pace(100, 1.0, 0.0))
    paces.note("model", Pace(400, 4.0, 0.0))
    paces.note("model", Pace(100, 2.0, 0.5))
    assert paces.of("model") == [Pace(400, 4.0, 0.0), Pace(100, 2.0, 0.5)]
    assert paces.of("other") == Paces(tmp_path, "elsewhere").of("model") == []
    for size in range(1, 30):
        paces.note("model", Pace(size, 1.0, 0.0))
    assert len(paces.of("model")) == 8


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"pixels": -1, "step_seconds": 1, "rest_seconds": 0}]', "[" * 9999])
def test_what_cannot_be_read_was_not_measured(tmp_path: Path, text: str) -> None:
    paces = Paces(tmp_path, "machine")
    paces.note("model", Pace(100, 1.0, 0.0))
    (path,) = (tmp_path / "tuning").iterdir()
    path.write_text(text)
    assert paces.of("model") == []
