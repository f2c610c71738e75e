"""`freehold fit`, and what doctor says of GPUs: as a person reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.cli.doctor import gpu_finding
from tests.cli.parts import Result, assert_one_line, run
from tests.conftest import fake_model, serving
from tests.hardware.recorded import read

GIB = 2**30


def fit(folder: Path, data: Path, *arguments: str, budget: int = 4 * GIB) -> Result:
    return run(folder, "fit", *arguments, "--data-dir", data, env={"FREEHOLD_URL": "", "FREEHOLD_MEMORY_BUDGET": str(budget)})


def as_json(result: Result) -> Any:
    return json.loads(result.out)


def test_an_installed_model_has_a_plan_with_its_memory(tmp_path: Path, starters: Path) -> None:
    shown = fit(tmp_path, starters, "smollm2:135m", "--context", "2048", "--slots", "2")
    assert shown.code == 0
    assert "smollm2:135m fits: 2 requests at a time, 2,048 tokens each." in shown.out
    assert "host    98 MB    94 MB" in shown.out
    plan = as_json(fit(tmp_path, starters, "smollm2:135m", "--context", "2048", "--slots", "2", "--kv-type", "q8_0", "--json"))
    assert plan["fits"]
    assert (plan["context"], plan["slots"], plan["kv_type"], plan["gpu_layers"]) == (2048, 2, "q8_0", 0)
    [share] = plan["memory"]
    assert share["total"] == share["weights"] + share["kv"] + share["buffers"]
    assert share["kv"] == 2 * 2048 * 30 * 3 * 128 * 34 // 32


def test_what_was_cut_is_said(tmp_path: Path, starters: Path) -> None:
    shown = fit(tmp_path, starters, "smollm2:135m", "--context", "8192", "--slots", "8", budget=800 * 2**20)
    assert shown.code == 0
    assert "note: slots:" in shown.out


def test_a_model_of_the_catalogue_is_planned_from_its_published_shape(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    plan = as_json(fit(tmp_path, tmp_path / "data", "qwen3:4b", "--json", budget=8 * GIB))
    assert plan["fits"]
    assert 2 * GIB < plan["memory"][0]["weights"] < 4 * GIB


def test_what_does_not_fit_is_refused_in_figures_with_what_would_fit(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shown = fit(tmp_path, tmp_path / "data", "qwen3:8b", budget=5 * GIB)
    assert shown.code == 1
    assert "there is 5.0 GiB on host free" in shown.out
    assert "would fit" in shown.out
    told = as_json(fit(tmp_path, tmp_path / "data", "qwen3:8b", "--json", budget=5 * GIB))
    assert not told["fits"]
    assert told["needed_bytes"] > told["free_bytes"]["host"] == 5 * GIB


def test_beside_a_running_server_its_memory_is_what_counts(tmp_path: Path) -> None:
    """Its loaded models make room for another; what they hold on any device is not lost."""
    fake_model(tmp_path / "data", "red", memory_bytes=GIB // 4)
    environment = {"FREEHOLD_DEFAULT_CHAT": "red", "FREEHOLD_DEFAULT_EMBEDDING": "red"}
    with serving(tmp_path / "data", env=environment) as server:
        [memory] = server.get("/api/ps")[2]["memory"]
        port = server.root.rpartition(":")[2]
        told = run(tmp_path, "fit", "kimi-k2.6", "--json", env={"FREEHOLD_URL": "", "FREEHOLD_PORT": port})
    assert as_json(told)["free_bytes"] == {"host": memory["budget_bytes"]}


def test_a_name_that_nobody_knows_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert_one_line(fit(tmp_path, tmp_path / "data", "no-such-model"), 1, "no-such-model")
    assert_one_line(fit(tmp_path, tmp_path / "data", "qwen3:4b", "--kv-type", "q3"), 2, "q3")


@pytest.mark.parametrize(
    ("name", "backend", "status", "words"),
    [
        ("gpu-24gb", "cuda", "ok", "NVIDIA GeForce RTX 4090, 24.0 GiB, NVIDIA 575.64.03, 8.9: used"),
        ("gpu-24gb", "cpu", "note", "freehold engine install cuda"),
        ("amd-gpu", "cpu", "note", "freehold engine install rocm"),
        ("intel-arc", "cpu", "note", "freehold engine install vulkan"),
        ("mac-m3-pro", "metal", "ok", "24.0 GiB shared with the host"),
        ("broken-nvidia", "cpu", "note", "restart the machine"),
        ("container", "cpu", "note", "--gpus all"),
        ("server", "cpu", "ok", "models run on the CPU"),
    ],
)
def test_doctor_says_whether_a_gpu_is_used_and_what_would_use_it(
    name: str, backend: str, status: str, words: str, tmp_path: Path
) -> None:
    found = gpu_finding(read(name).probe(tmp_path), backend)
    assert found.status == status
    assert words in f"{found.detail} {found.remedy}"
