"""The limits a container or a service runs under: control groups of version 2 and 1.

Formats: kernel documentation, admin-guide/cgroup-v2.rst (cpu.max, memory.max) and admin-guide/cgroup-v1/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from freehold.hardware.files import number, table, text

# Version 1 writes "no limit" as the largest page-aligned number; no machine has this much memory.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes a control group may use, and how many of them are free (its file cache counts as free: it can be dropped)."""

    limit: int
    available: int


def cpu_quota(root: Path) -> float | None:
    """Processors' worth of time that this process may use, or None without a limit."""
    quotas = [
        quota
        for version, folder in _groups(root, "cpu")
        if (quota := _quota_v2(folder) if version == 2 else _quota_v1(folder)) is not None
    ]
    return min(quotas, default=None)


def memory_limits(root: Path) -> list[MemoryLimit]:
    """The limits in force, of this process's group and of those around it."""
    found = []
    for version, folder in _groups(root, "memory"):
        limit, used, cache = _memory_v2(folder) if version == 2 else _memory_v1(folder)
        if limit is not None and limit < _NO_LIMIT:
            found.append(MemoryLimit(limit, max(0, limit - max(0, (used or 0) - cache))))
    return found


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """(version, folder) of this process's groups and of all around them: a limit holds for everything inside."""
    mounts = root / "sys/fs/cgroup"
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        _, names, path = ([*line.split(":", 2), "", ""])[:3]
        if not names:
            version, base = 2, mounts
        elif controller in names.split(","):
            version, base = 1, mounts / controller
        else:
            continue
        # A container may see the path that its group has outside: then only the topmost folders exist here.
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for depth in range(len(parts), -1, -1):
            yield version, base.joinpath(*parts[:depth])


def _quota_v2(folder: Path) -> float | None:
    words = (text(folder / "cpu.max") or "").split()
    if len(words) != 2 or not words[0].isdecimal() or not words[1].isdecimal() or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = number(folder / "cpu.cfs_quota_us"), number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _memory_v2(folder: Path) -> tuple[int | None, int | None, int]:
    return number(folder / "memory.max"), number(folder / "memory.current"), _cache(folder, "inactive_file")


def _memory_v1(folder: Path) -> tuple[int | None, int | None, int]:
    used = number(folder / "memory.usage_in_bytes")
    return number(folder / "memory.limit_in_bytes"), used, _cache(folder, "total_inactive_file")


def _cache(folder: Path, name: str) -> int:
    value = table(folder / "memory.stat", None).get(name, "")
    return int(value) if value.isdecimal() else 0
