"""The memory that models and their caches have to fit in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freehold.hardware import cgroup
from freehold.hardware.files import table


@dataclass(frozen=True)
class Memory:
    """Bytes, within the limits of a container. `available` can be taken without swapping; 0 and 0 when nothing is known."""

    total: int
    available: int


def linux_memory(root: Path) -> Memory:
    """MemTotal and MemAvailable, cut to the tightest control group."""
    info = table(root / "proc/meminfo")
    total, available = _bytes(info.get("MemTotal")), _bytes(info.get("MemAvailable") or info.get("MemFree"))
    for limit in cgroup.memory_limits(root):
        total = min(total or limit.limit, limit.limit)
        available = min(available or limit.available, limit.available)
    return Memory(total, available)


def _bytes(kilobytes: str | None) -> int:
    """ "16301288 kB" in bytes; the kernel's kB are 1024."""
    words = (kilobytes or "").split()
    return int(words[0]) * 1024 if words and words[0].isdecimal() else 0
