"""Figures as a small table for people and as JSON for comparison."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import freehold

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, the value with its unit, and what it should be, where there is a goal."""

    what: str
    value: float
    unit: str
    goal: str = ""
    note: str = ""


@dataclass
class Report:
    title: str
    figures: list[Figure] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)  # the raw numbers behind the figures

    def add(self, what: str, value: float, unit: str, goal: str = "", note: str = "") -> None:
        self.figures.append(Figure(what, round(value, 3), unit, goal, note))

    def table(self) -> str:
        rows = [
            (f.what, f"{f.value:,.4g}" if f.value < 1000 else f"{f.value:,.0f}", f.unit, f.goal, f.note) for f in self.figures
        ]
        head = ("", "value", "unit", "goal", "")
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(5)]
        lines = [
            "  ".join(cell.ljust(w) if i != 1 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
            for row in (head, *rows)
        ]
        return "\n".join([self.title, *(f"  {line.rstrip()}" for line in lines)])


def save(name: str, report: Report) -> Path:
    """Writes the report with the description of the machine; returns a path that is relative where it can be."""
    RESULTS.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = RESULTS / f"{name}-{stamp}.json"
    path.write_text(json.dumps({"benchmark": name, "machine": machine(), **asdict(report)}, indent=1) + "\n", encoding="utf-8")
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def machine() -> dict[str, Any]:
    """What a figure must be read with."""
    cpu = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "freehold": freehold.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu,
        "usable_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": os.getloadavg(),
    }


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0 to 1) of the values lie, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]
