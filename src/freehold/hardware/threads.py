"""How many threads an engine gets on this machine."""

from __future__ import annotations

import math
import os
from pathlib import Path

from freehold.hardware.cgroup import cpu_quota


def engine_threads(root: Path = Path("/")) -> int:
    """The physical cores this process may use: a second thread on the same core slows llama.cpp's matrix kernels down.

    `root` is where sys/ is looked for. Without it, the usable processors are counted.
    """
    usable = _usable()
    cores = set()
    for cpu in usable:
        siblings = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        try:
            cores.add(siblings.read_text(encoding="ascii").strip())
        except OSError:
            cores.add(str(cpu))
    quota = cpu_quota(root)
    return max(1, min(len(cores), math.floor(quota) if quota is not None else len(cores)))


def _usable() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
