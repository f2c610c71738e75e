"""The processor: its name, its cores, those this process may use, and the instruction sets that engines care for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from freehold.hardware import cgroup
from freehold.hardware.files import cpu_list, number, table, text

# Names in /proc/cpuinfo (x86 "flags", Arm "Features") of what llama.cpp has kernels for, and what people call them.
_SETS = {
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512-VNNI",
    "avx512_bf16": "AVX-512-BF16",
    "amx_int8": "AMX",
    "neon": "NEON",
    "asimd": "NEON",
    "asimdhp": "FP16",
    "asimddp": "DOTPROD",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
}


@dataclass(frozen=True)
class Cpu:
    """`usable` is how many processors this process may keep busy: its affinity, cut by a container's quota, at least 1.

    `fast_cores` are the physical cores among these that an engine's threads belong on, at least 1: of a hybrid processor the
    performance cores, elsewhere all. A thread on a slow core would make the others wait at every barrier.
    """

    model: str
    physical_cores: int
    logical_cpus: int
    usable: int
    instruction_sets: tuple[str, ...]
    fast_cores: int = 1


def linux_cpu(root: Path) -> Cpu:
    """What /proc and /sys below `root` tell; where they tell nothing, what Python knows."""
    info = table(root / "proc/cpuinfo")
    online = _online(root)
    logical = len(online) or os.cpu_count() or 1
    allowed = cpu_list(table(root / "proc/self/status").get("Cpus_allowed_list"))
    usable = len(allowed & online if online else allowed) or logical
    quota = cgroup.cpu_quota(root)
    time = math.floor(quota) if quota is not None else usable
    fast = _fast(root, allowed & online if allowed else online)
    return Cpu(
        model=info.get("model name") or _board(root) or info.get("Model") or "unknown",
        physical_cores=_physical(root, online) or logical,
        logical_cpus=logical,
        usable=max(1, min(usable, time)),
        instruction_sets=named_sets((info.get("flags") or info.get("Features") or "").split()),
        fast_cores=max(1, min(_physical(root, fast) or len(fast) or logical, usable, time)),
    )


def _board(root: Path) -> str | None:
    """Arm processors have no name of their own: the board's, or the computer's."""
    return text(root / "proc/device-tree/model") or text(root / "sys/devices/virtual/dmi/id/product_name")


def named_sets(flags: Iterable[str]) -> tuple[str, ...]:
    """The kernel's flags under people's names, in the order of the table above."""
    given = set(flags)
    return tuple(dict.fromkeys(name for flag, name in _SETS.items() if flag in given))


def _online(root: Path) -> frozenset[int]:
    listed = cpu_list(text(root / "sys/devices/system/cpu/online"))
    if listed:
        return listed
    lines = (text(root / "proc/cpuinfo") or "").splitlines()
    return frozenset(range(sum(line.startswith("processor") for line in lines)))


def _fast(root: Path, cpus: frozenset[int]) -> frozenset[int]:
    """Those of the processors that are of the fastest kind: Intel names the kinds, Arm gives each a capacity of up to 1024."""
    performance = cpu_list(text(root / "sys/devices/cpu_core/cpus"))
    if performance & cpus and cpu_list(text(root / "sys/devices/cpu_atom/cpus")):
        return performance & cpus
    capacity = {cpu: number(root / f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity") or 0 for cpu in cpus}
    best = max(capacity.values(), default=0)
    return frozenset(cpu for cpu, value in capacity.items() if value >= 0.7 * best)


def _physical(root: Path, online: Iterable[int]) -> int:
    """Distinct groups of processors that share a core; 0 where the kernel does not tell."""
    cores = set()
    for cpu in online:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings = text(topology / "core_cpus_list") or text(topology / "thread_siblings_list")
        if siblings:
            cores.add(siblings)
    return len(cores)
