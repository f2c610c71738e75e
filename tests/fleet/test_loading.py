"""How long a load may take, and which of an engine's last lines say why it ended."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.fleet.endings import telling
from freehold.fleet.engines import Deployment
from freehold.fleet.loading import time_for
from freehold.hardware.plan import HOST, Plan, Share


def deployment(weights: Path | None, planned: int = 0, gpu_layers: int = 0) -> Deployment:
    memory = (Share(HOST, planned, 0, 0),) if planned else ()
    plan = Plan(context=512, slots=1, memory=memory, gpu_layers=gpu_layers)
    return Deployment("m", "chat", "llama.cpp", plan, sandbox="auto", weights=weights)


def test_a_load_gets_time_by_the_size_of_the_weights(tmp_path: Path) -> None:
    small = tmp_path / "m.gguf"
    small.write_bytes(bytes(1000))
    assert 30 <= time_for(deployment(small)) < 31
    assert time_for(deployment(small, planned=20 * 10**9)) == 1030
    assert time_for(deployment(tmp_path / "gone.gguf")) == 30


def test_where_the_size_says_nothing_the_setting_alone_bounds_a_load(tmp_path: Path) -> None:
    assert time_for(deployment(None)) == math.inf
    assert time_for(replace(deployment(tmp_path), plan=Plan(context=512, slots=1, gpu_layers=9))) == math.inf


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            [
                "0.00.012 W srv          init: security: no API key is set",
                "0.00.019 E llama_model_load: error loading model: check_tensor_dims: tensor 'x' not found",
                "0.00.019 E llama_model_load_from_file_impl: failed to load model",
                "0.00.019 E cmn  common_init_: failed to load model '/m.gguf'",
                "0.00.020 E srv          init: exiting due to model loading error",
                "the engine did not start; its own lines above say why",
            ],
            ["error loading model: check_tensor_dims: tensor 'x' not found"],
        ),
        (
            [
                "/workspace/engine/src/llama-model.cpp:1390: GGML_ASSERT(a <= b) failed",
                "ptrace: Operation not permitted.",
                "No stack.",
            ],
            ["llama-model.cpp:1390: GGML_ASSERT(a <= b) failed"],
        ),
        (["loading", "0.00.019 E cmn  common_init_: failed to load model '/m.gguf'"], ["failed to load model '/m.gguf'"]),
        (["loading", "loading", "Killed"], ["loading", "Killed"]),
        ([], []),
    ],
    ids=["a cause and its consequences", "an assertion", "a consequence alone", "no error at all", "nothing"],
)
def test_the_line_that_says_why_is_told_and_not_who_gave_up_next(log: list[str], said: list[str]) -> None:
    assert telling(log) == said
