"""Machines are recorded as folders and programs' words, so that any of them can be looked at from here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from freehold.hardware.commands import NOT_FOUND, Ran, run
from freehold.hardware.probe import probe
from freehold.hardware.threads import engine_threads

GIB = 2**30
SMI = "nvidia-smi"


def machine(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def programs(answers: Mapping[str, Ran]) -> object:
    """A runner: what each program answers by its name; one that is not named is not installed."""

    def runner(argv: Sequence[str]) -> Ran:
        name = argv[0] if argv[0] in answers or "python" not in argv[0] else "python"
        return answers.get(name, Ran(NOT_FOUND))

    return runner


LAPTOP = {
    "proc/cpuinfo": "".join(
        f"processor\t: {cpu}\nmodel name\t: A Laptop CPU\nflags\t\t: fpu sse2 avx avx2 fma f16c\n\n" for cpu in range(8)
    ),
    "proc/meminfo": "MemTotal:       16301288 kB\nMemFree:         100000 kB\nMemAvailable:    9000000 kB\n",
    "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-7\n",
    "sys/devices/system/cpu/online": "0-7\n",
    **{f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list": f"{cpu % 4},{cpu % 4 + 4}\n" for cpu in range(8)},
}
WORKS = {"python": Ran(0, "0\n")}


def test_a_laptop(tmp_path: Path) -> None:
    seen = probe(machine(tmp_path, LAPTOP), programs(WORKS), "Linux", "x86_64")
    assert (seen.cpu.model, seen.cpu.physical_cores, seen.cpu.logical_cpus, seen.cpu.usable) == ("A Laptop CPU", 4, 8, 8)
    assert seen.cpu.instruction_sets == ("AVX", "AVX2", "FMA", "F16C")
    assert (seen.memory.total, seen.memory.available) == (16301288 * 1024, 9000000 * 1024)
    assert seen.gpus == ()
    assert seen.gpu_reason == "no NVIDIA driver"
    assert seen.namespaces.supported


def test_a_container_is_as_large_as_its_limits(tmp_path: Path) -> None:
    limits = {
        "proc/self/cgroup": "0::/docker/abc\n",
        "sys/fs/cgroup/cpu.max": "250000 100000\n",
        "sys/fs/cgroup/memory.max": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory.current": f"{GIB}\n",
        "sys/fs/cgroup/memory.stat": f"inactive_file {GIB // 2}\n",
    }
    seen = probe(machine(tmp_path, LAPTOP | limits), programs(WORKS), "Linux", "x86_64")
    assert seen.cpu.usable == 2
    assert (seen.memory.total, seen.memory.available) == (2 * GIB, 2 * GIB - GIB // 2)


def test_limits_of_version_1(tmp_path: Path) -> None:
    limits = {
        "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/x\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "0\n",
    }
    seen = probe(machine(tmp_path, LAPTOP | limits), programs(WORKS), "Linux", "x86_64")
    assert seen.cpu.usable == 1
    assert seen.memory.total == GIB


def test_affinity_counts(tmp_path: Path) -> None:
    status = {"proc/self/status": "Cpus_allowed_list:\t0,2-3\n"}
    assert probe(machine(tmp_path, LAPTOP | status), programs(WORKS), "Linux", "x86_64").cpu.usable == 3


@pytest.mark.parametrize(
    ("ran", "gpus", "reason"),
    [
        (Ran(0, "NVIDIA H100 80GB HBM3, 81559, 570.86\nNVIDIA L4, 23034, 570.86\n"), 2, None),
        (Ran(0, "Orin, [N/A], 540.4\n"), 1, None),
        (Ran(0, ""), 0, "lists no GPU"),
        (Ran(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"), 0, "couldn't communicate"),
        (Ran(-11), 0, "exit code -11"),
    ],
)
def test_gpus_as_their_driver_tells(tmp_path: Path, ran: Ran, gpus: int, reason: str | None) -> None:
    seen = probe(machine(tmp_path, LAPTOP), programs(WORKS | {SMI: ran}), "Linux", "x86_64")
    assert len(seen.gpus) == gpus
    assert (reason or "") in (seen.gpu_reason or "")
    assert (seen.gpu_reason is None) == bool(gpus)


def test_a_gpu_without_its_driver_is_told_from_none(tmp_path: Path) -> None:
    card = {"sys/class/drm/card0/device/vendor": "0x10de\n"}
    seen = probe(machine(tmp_path, LAPTOP | card), programs(WORKS), "Linux", "x86_64")
    assert seen.gpu_reason == "an NVIDIA GPU is there, but no NVIDIA driver"
    assert "Install" in str(seen.gpu_remedy)


@pytest.mark.parametrize(
    ("files", "answer", "words"),
    [
        ({"proc/sys/user/max_user_namespaces": "0"}, "28", "max_user_namespaces"),
        ({"proc/sys/kernel/unprivileged_userns_clone": "0"}, "1", "unprivileged_userns_clone"),
        ({"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, "13", "apparmor"),
        ({}, "1", "seccomp"),
        ({}, "22", "kernel"),
        ({}, "what?", "share"),
    ],
)
def test_why_there_is_no_sandbox_and_what_would_allow_one(
    tmp_path: Path, files: dict[str, str], answer: str, words: str
) -> None:
    seen = probe(machine(tmp_path, LAPTOP | files), programs({"python": Ran(0, answer)}), "Linux", "x86_64").namespaces
    assert not seen.supported
    assert words in f"{seen.reason} {seen.remedy}"


def test_a_mac(tmp_path: Path) -> None:
    answers = {
        "sysctl": Ran(
            1,
            "machdep.cpu.brand_string: Apple M3\nhw.physicalcpu: 8\nhw.logicalcpu: 8\nhw.memsize: 17179869184\n"
            "hw.optional.neon: 1\nhw.optional.arm.FEAT_DotProd: 1\n",
        ),
        "vm_stat": Ran(
            0, "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 1000.\nPages inactive: 2000.\n"
        ),
    }
    seen = probe(tmp_path, programs(answers), "Darwin", "arm64")
    assert (seen.cpu.model, seen.cpu.physical_cores) == ("Apple M3", 8)
    assert seen.cpu.instruction_sets == ("NEON", "DOTPROD")
    assert (seen.memory.total, seen.memory.available) == (16 * GIB, 3000 * 16384)
    assert seen.gpus[0].driver == "Metal"
    assert not seen.namespaces.supported


@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows"])
def test_a_machine_that_tells_nothing_breaks_nothing(tmp_path: Path, system: str) -> None:
    seen = probe(tmp_path, programs({}), system, "riscv64")
    assert seen.cpu.usable >= 1
    assert seen.memory.total == 0
    assert seen.gpu_reason


def test_files_full_of_nonsense_break_nothing(tmp_path: Path) -> None:
    nonsense = dict.fromkeys(
        [*LAPTOP, "proc/self/cgroup", "sys/fs/cgroup/cpu.max", "sys/fs/cgroup/memory.max"], "\0x:y,-,9-1\n:::\n"
    )
    assert (
        probe(
            machine(tmp_path, nonsense), programs({"python": Ran(0, "x"), SMI: Ran(0, ",,,\n\n")}), "Linux", "x86_64"
        ).cpu.usable
        >= 1
    )


def test_this_machine(tmp_path: Path) -> None:
    seen = probe()
    assert 1 <= seen.cpu.usable <= (os.cpu_count() or 1)
    assert 0 < seen.memory.available <= seen.memory.total
    assert 1 <= engine_threads() <= (os.cpu_count() or 1)


def test_a_program_that_hangs_or_is_missing_is_an_answer_too() -> None:
    assert run(("sleep", "30"), seconds=0.05).code == 124
    assert run(("no-such-program-here",)).code == NOT_FOUND
    assert run(("/",)).code == 126
