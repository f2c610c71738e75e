"""GPUs, as their driver's own tool reports them: no library is loaded for it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from freehold.hardware.commands import NOT_FOUND, Ran, Runner
from freehold.hardware.files import text

_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
_VENDORS = {"0x1002": "AMD", "0x8086": "Intel", "0x10de": "NVIDIA"}


@dataclass(frozen=True)
class Gpu:
    """`memory_bytes` is 0 where the driver does not tell."""

    name: str
    memory_bytes: int
    driver: str


def linux_gpus(root: Path, run: Runner) -> tuple[tuple[Gpu, ...], str | None]:
    """The NVIDIA GPUs, or none and the reason."""
    ran = run(_QUERY)
    if ran.code == 0:
        gpus = _parse(ran.out)
        return gpus, None if gpus else "nvidia-smi lists no GPU"
    if ran.code == NOT_FOUND:
        return (), _without_driver(root)
    return (), f"nvidia-smi fails: {_said(ran)}"


def _parse(listing: str) -> tuple[Gpu, ...]:
    rows = csv.reader(listing.splitlines(), skipinitialspace=True)
    return tuple(
        Gpu(row[0], int(row[1]) * 2**20 if row[1].isdecimal() else 0, f"NVIDIA {row[2]}") for row in rows if len(row) == 3
    )


def _without_driver(root: Path) -> str:
    """Why there is no nvidia-smi: no such card, or a card without its driver."""
    seen = {_VENDORS.get(text(card / "device/vendor") or "") for card in (root / "sys/class/drm").glob("card?")}
    if "NVIDIA" in seen:
        return "an NVIDIA GPU is there, but no NVIDIA driver (nvidia-smi is not installed)"
    others = sorted(vendor for vendor in seen if vendor)
    return f"no NVIDIA driver; {' and '.join(others)} graphics are not used" if others else "no NVIDIA driver"


def _said(ran: Ran) -> str:
    lines = [line.strip() for line in (ran.out + "\n" + ran.err).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:200] if lines else f"exit code {ran.code}"
