"""What the system knows about a running process, from /proc: see proc(5). Elsewhere than on Linux, nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_AWAKE = frozenset("RD")  # running or ready to, and waiting for a disk


@dataclass(frozen=True)
class Vitals:
    """`cpu` is seconds of processor time spent so far, by all threads; `awake` whether one of them runs, could run, or waits
    for a disk; `stopped` whether a signal or a debugger holds the process."""

    cpu: float
    awake: bool
    stopped: bool


def vitals(pid: int, root: Path = Path("/")) -> Vitals | None:
    """None when the process is gone, or the system does not tell."""
    folder = root / f"proc/{pid}"
    try:
        fields = _after_name((folder / "stat").read_text(encoding="utf-8", errors="replace"))
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        states = {fields[0]} | {_state(task) for task in (folder / "task").iterdir()}
    except (OSError, ValueError, IndexError):
        return None
    return Vitals(cpu, not _AWAKE.isdisjoint(states), fields[0] in "Tt")


def anonymous_bytes(pid: int, root: Path = Path("/")) -> int | None:
    """Resident memory that is the process's own: file pages, which weights that are mapped consist of, are not in it."""
    try:
        text = (root / f"proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def resident_bytes(pid: int, root: Path = Path("/")) -> int | None:
    """All resident memory, mapped file pages included."""
    try:
        pages = int((root / f"proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def group_resident_bytes(group: int, root: Path = Path("/")) -> int | None:
    """The resident memory of all processes of a group; what they share is counted as often."""
    found = [resident_bytes(int(folder.name), root) for folder in (root / "proc").glob("[0-9]*") if _group(folder) == group]
    return sum(filter(None, found)) if found else None


def oom_kills(root: Path = Path("/")) -> int | None:
    """Processes that Linux has killed for want of memory since it started, as /proc/vmstat counts them."""
    try:
        text = (root / "proc/vmstat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _after_name(stat: str) -> list[str]:
    """The fields from the third on: the second, the name, may hold blanks and brackets."""
    return stat.rpartition(")")[2].split()


def _group(process: Path) -> int | None:
    try:
        return int(_after_name((process / "stat").read_text(encoding="utf-8", errors="replace"))[2])
    except (OSError, ValueError, IndexError):
        return None


def _state(task: Path) -> str:
    try:
        return _after_name((task / "stat").read_text(encoding="utf-8", errors="replace"))[0]
    except (OSError, IndexError):  # a thread that has just ended
        return ""
