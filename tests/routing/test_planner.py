"""Where models of other makers' engines are planned: in the memory that their user says they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.fleet.remote import UNTOLD
from freehold.hardware.misfit import Misfit
from freehold.hardware.plan import HOST, Plan, Share
from freehold.routing.planner import Home, Planner
from freehold.settings import ModelSettings, Settings
from freehold.store.manifest import Manifest
from tests.hardware.recorded import read

GIB = 2**30
STARTED: dict[str, Any] = {"engine": "external", "command": ["serve", "{port}"]}


def planned(folder: Path, machine: str, **own: Any) -> tuple[Home, Plan | Misfit]:
    settings = Settings(data_dir=folder / "data", models={"m": ModelSettings.model_validate({**STARTED, **own})})
    home = Home.of(read(machine).probe(folder), settings)
    return home, Planner(settings, home).plan(Manifest("m", "chat", "external", (), "", None, 0))


def test_what_an_engine_takes_is_what_its_user_says(tmp_path: Path) -> None:
    _, nothing = planned(tmp_path, "gpu-24gb", context=8192, slots=16)
    assert isinstance(nothing, Plan)
    assert (nothing.memory, nothing.context, nothing.slots) == ((), 8192, 16)
    _, plain = planned(tmp_path, "gpu-24gb")
    assert isinstance(plain, Plan)
    assert plain.context == UNTOLD
    _, here = planned(tmp_path, "gpu-24gb", memory="1 GiB")
    assert isinstance(here, Plan)
    assert here.memory == (Share(HOST, 0, 0, GIB),)


def test_a_gpu_that_is_named_for_one_is_planned_also_where_no_other_engine_uses_it(tmp_path: Path) -> None:
    home, plan = planned(tmp_path, "gpu-24gb", memory="20 GiB", device="cuda:0")
    assert isinstance(plan, Plan)
    assert plan.memory == (Share("cuda:0", 0, 0, 20 * GIB),)
    assert home.bytes_by_device["cuda:0"] > 20 * GIB
    assert home.whole.needed(plan.memory) == {HOST: 0, "cuda:0": 20 * GIB}
    assert [device.name for device in home.drawing] == []  # the engine for pictures still has none


@pytest.mark.parametrize(
    ("memory", "device", "word"), [("25 GiB", "cuda:0", "on cuda:0 free"), ("1 GiB", "cuda:7", "no cuda:7")]
)
def test_what_is_not_there_is_told_with_the_figures(tmp_path: Path, memory: str, device: str, word: str) -> None:
    _, plan = planned(tmp_path, "gpu-24gb", memory=memory, device=device)
    assert isinstance(plan, Misfit)
    assert word in plan.reason
