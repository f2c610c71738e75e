"""Recorded machines: what the probe makes of each, and what a model of 8 billion parameters would get there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.hardware.fit import Plan, Want, budget_of, plan
from freehold.hardware.gpu import Gpu
from freehold.hardware.plan import HOST
from freehold.hardware.probe import Machine
from tests.hardware.recorded import NAMES, Nvml, NVMLError, read
from tests.hardware.test_fit import llama8b

GIB, MIB = 2**30, 2**20
ALL = ("cuda", "rocm", "vulkan", "metal")


@dataclass(frozen=True)
class Seen:
    """What is expected: usable processors, fast cores, GiB of memory, and each GPU's kind and MiB."""

    usable: int
    fast: int
    memory: float
    gpus: tuple[tuple[str, int], ...] = ()


EXPECTED = {
    "laptop": Seen(16, 4, 15.3, (("vulkan", 7820),)),
    "gpu-8gb": Seen(12, 6, 31.3, (("cuda", 8192),)),
    "gpu-24gb": Seen(32, 32, 62.5, (("cuda", 24564),)),
    "two-gpus": Seen(64, 64, 251.6, (("cuda", 49140), ("cuda", 16376))),
    "mig": Seen(8, 8, 125.0, (("cuda", 9984), ("cuda", 20096))),
    "wsl": Seen(16, 16, 15.6, (("cuda", 12288),)),
    "container": Seen(2, 2, 4.0),
    "raspberry-pi-5": Seen(4, 4, 7.9),
    "arm-board": Seen(8, 4, 15.4),
    "server": Seen(24, 24, 125.7),
    "amd-gpu": Seen(16, 16, 31.1, (("rocm", 16368),)),
    "amd-apu": Seen(16, 16, 30.5, (("vulkan", 15625),)),
    "broken-nvidia": Seen(8, 8, 30.5),
    "unified-gb10": Seen(20, 20, 119.7, (("cuda", 122558),)),
    "mac-m3-pro": Seen(12, 6, 36.0, (("metal", 24576),)),
    "intel-arc": Seen(20, 8, 31.1, (("vulkan", 16384), ("vulkan", 15898))),
}


def machine(name: str, tmp_path: Path) -> Machine:
    return read(name).probe(tmp_path)


def test_there_are_recordings_of_all_that_is_expected() -> None:
    assert set(NAMES) == set(EXPECTED)
    assert len(NAMES) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_is_seen_as_it_is(name: str, tmp_path: Path) -> None:
    seen, expected = machine(name, tmp_path), EXPECTED[name]
    assert (seen.cpu.usable, seen.cpu.fast_cores) == (expected.usable, expected.fast)
    assert seen.memory.total / GIB == pytest.approx(expected.memory, abs=0.06)
    assert 0 < seen.memory.available <= seen.memory.total
    assert tuple((gpu.kind, gpu.memory_bytes // MIB) for gpu in seen.gpus) == expected.gpus
    assert all(0 < gpu.free_bytes <= gpu.memory_bytes for gpu in seen.gpus)
    assert seen.cpu.model != "unknown"
    assert seen.cpu.instruction_sets
    assert bool(seen.gpus) or bool(seen.gpu_reason)


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_has_a_plan_or_a_reason_within_its_budget(name: str, tmp_path: Path) -> None:
    seen = machine(name, tmp_path)
    for backends in ((), ALL, ("vulkan",)):
        budget = budget_of(seen, backends)
        assert budget.host.free_bytes < seen.memory.available
        found = plan(llama8b(), budget, Want())
        if isinstance(found, Plan):
            assert not budget.shortfalls(found.memory)
        else:
            assert name == "container"
            assert "GiB on host" in found.reason


def gpu(name: str, tmp_path: Path) -> Gpu:
    return machine(name, tmp_path).gpus[0]


def test_a_gpu_is_named_with_its_driver_and_what_it_can(tmp_path: Path) -> None:
    seen = gpu("gpu-8gb", tmp_path)
    assert (seen.name, seen.driver, seen.compute) == ("NVIDIA GeForce RTX 3070", "NVIDIA 570.133.07, CUDA 12.8", "8.6")
    assert seen.free_bytes == 7412 * MIB


def test_what_runs_on_a_gpu_already_is_not_free(tmp_path: Path) -> None:
    found = plan(llama8b(), budget_of(machine("gpu-8gb", tmp_path), ["cuda"]), Want(context=4096))
    assert isinstance(found, Plan)
    assert found.on("cuda:0") <= 7412 * MIB


def test_slices_stand_for_the_gpu_that_is_cut(tmp_path: Path) -> None:
    names = [gpu.name for gpu in machine("mig", tmp_path).gpus]
    assert all("MIG" in name for name in names)


def test_windows_driver_is_found_outside_of_the_path(tmp_path: Path) -> None:
    seen = machine("wsl", tmp_path)
    assert seen.wsl
    assert seen.gpus[0].driver == "NVIDIA 566.36"


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("broken-nvidia", "Driver/library version mismatch (the kernel has 550.120)", "restart the machine"),
        ("laptop", "no Vulkan driver", "mesa-vulkan-drivers"),
        ("container", "no NVIDIA driver", "--gpus all"),
        ("server", "no NVIDIA driver", None),
    ],
)
def test_why_there_is_no_gpu_and_what_would_change_that(name: str, reason: str, remedy: str | None, tmp_path: Path) -> None:
    seen = machine(name, tmp_path)
    assert reason in str(seen.gpu_reason)
    assert (remedy or "None") in str(seen.gpu_remedy)


@pytest.mark.parametrize("name", ["mac-m3-pro", "unified-gb10", "amd-apu", "laptop"])
def test_shared_memory_is_not_counted_twice(name: str, tmp_path: Path) -> None:
    budget = budget_of(machine(name, tmp_path), ALL)
    assert budget.gpus[0].unified
    found = plan(llama8b(), budget, Want())
    assert isinstance(found, Plan)
    assert found.gpu_layers == 32
    assert sum(share.total for share in found.memory) <= budget.host.free_bytes


def test_amd_and_intel_are_named_by_what_knows_them(tmp_path: Path) -> None:
    assert gpu("amd-gpu", tmp_path / "a").compute == "gfx1101"
    assert gpu("amd-gpu", tmp_path / "a").driver == "AMD ROCm 6.4.1-83"
    assert gpu("amd-apu", tmp_path / "b").name == "AMD Radeon 780M Graphics (RADV PHOENIX)"
    assert [g.name for g in machine("intel-arc", tmp_path / "c").gpus] == [
        "Intel(R) Arc(tm) A770 Graphics (DG2)",
        "Intel(R) Graphics (ARL)",
    ]
    assert gpu("intel-arc", tmp_path / "c").driver == "Intel xe"


def test_an_engine_reaches_gpus_by_its_own_interface_or_by_vulkan(tmp_path: Path) -> None:
    seen = machine("two-gpus", tmp_path)
    assert [device.name for device in budget_of(seen, ["cuda"]).devices] == [HOST, "cuda:0", "cuda:1"]
    assert [device.name for device in budget_of(seen, ["vulkan"]).devices] == [HOST, "vulkan:0", "vulkan:1"]
    assert [device.name for device in budget_of(seen, []).devices] == [HOST]


def test_a_driver_that_fails_half_way_is_told(tmp_path: Path) -> None:
    class Failing(Nvml):
        def nvmlDeviceGetCount(self) -> int:
            raise NVMLError(9)

    recording = read("gpu-8gb")
    library = Failing(recording.nvml)
    recording.probe(tmp_path)  # writes the files
    from freehold.hardware.probe import probe

    seen = probe(tmp_path, recording.run, "Linux", "x86_64", lambda: library)
    assert seen.gpus == ()
    assert "Driver Not Loaded" in str(seen.gpu_reason)
    assert "modprobe" in str(seen.gpu_remedy)
    assert library.shut
