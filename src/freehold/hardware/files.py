"""Reading the small files of /proc and /sys, which may be missing, unreadable or odd."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def text(path: Path) -> str | None:
    """A file's text without the white space (and the NULs of a device tree) around it, or None."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
    except OSError:
        return None


def number(path: Path) -> int | None:
    """A file that holds one whole number, or None."""
    content = text(path)
    try:
        return int(content) if content else None
    except ValueError:
        return None


def table(path: Path, separator: str | None = ":") -> Mapping[str, str]:
    """Lines of a name and a value; the first of a name counts. Empty when the file cannot be read."""
    found: dict[str, str] = {}
    for line in (text(path) or "").splitlines():
        name, value = ([*line.split(separator, 1), ""])[:2]
        found.setdefault(name.strip(), value.strip())
    return found


def cpu_list(content: str | None) -> frozenset[int]:
    """The kernel's list of processors: "0-3,8" gives 0, 1, 2, 3, 8. Empty for what is no such list."""
    found: set[int] = set()
    for part in (content or "").split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            continue
        found.update(range(int(first), min(int(last or first), 65_535) + 1))
    return frozenset(found)
