"""Wheels of xllamacpp for GPUs, from that project's own index, installed into the build's own folder."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from freehold.builder.progress import OnStep, bytes_of
from freehold.errors import SourceUnreachable
from freehold.fleet import builds
from freehold.fleet.builds import Backend
from freehold.hardware.probe import Machine
from freehold.store import disk, pip

# The folders of the index, newest first, with the oldest driver each works with (its major version; 0: not known).
VARIANTS: dict[Backend, tuple[tuple[str, int], ...]] = {
    "cuda": (("cu132", 580), ("cu128", 0)),
    "rocm": (("rocm-7.2.4", 0), ("rocm-6.4.1", 0)),
    "vulkan": (("vulkan", 0),),
}
_BYTES: dict[Backend, int] = {"cuda": 900_000_000, "rocm": 900_000_000, "vulkan": 150_000_000}  # roughly, for the bar
# Nothing but the index that is named: the user's other indexes have the wheel of the same version that knows no GPU.
_ONLY = {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_NO_INDEX": ""}


@dataclass(frozen=True)
class Wheel:
    """What was installed: the address it came from, and its sha256 as pip computed it."""

    url: str
    sha256: str


def variant(backend: Backend, machine: Machine) -> str:
    """The index folder for this machine's driver."""
    found = (re.search(r"NVIDIA (\d+)", gpu.driver) for gpu in machine.gpus)
    driver = min((int(match[1]) for match in found if match), default=0)
    return next(name for name, oldest in VARIANTS[backend] if driver >= oldest)


def needed_bytes(backend: Backend) -> int:
    """Disk for the wheel and what it unpacks to."""
    return 3 * _BYTES[backend]


def install(backend: Backend, address: str, work: Path, site: Path, report: OnStep) -> Wheel:
    """Installs xllamacpp, of the version that the default install has, from the index at `address` to the folder `site`.

    Raises SourceUnreachable, DiskFull, StoreError.
    """
    told, version = work / "report.json", builds.wheel_version()
    with disk.translated():
        shutil.rmtree(site, ignore_errors=True)
        pip.run(
            (
                *("install", "--no-deps", "--only-binary=:all:", "--index-url", address, "--target", str(site)),
                *("--report", str(told), f"{builds.LIBRARY}=={version}"),
            ),
            work,
            f"{builds.LIBRARY} {version} for {backend}",
            lambda: report(bytes_of("downloading and installing", disk.tree_bytes(work), 2 * _BYTES[backend])),
            _ONLY,
        )
        return _installed(told, version)


def _installed(told: Path, version: str) -> Wheel:
    try:
        (item,) = json.loads(told.read_text(encoding="utf-8"))["install"]
        info = item["download_info"]
        wheel = Wheel(str(info["url"]), str(info["archive_info"]["hashes"]["sha256"]))
        if item["metadata"]["version"] == version:
            return wheel
    except (ValueError, KeyError, TypeError):
        pass
    raise SourceUnreachable(f"pip did not say that it installed {builds.LIBRARY} {version}.", pip.CONFIGURATION)
