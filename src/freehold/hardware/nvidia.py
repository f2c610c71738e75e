"""NVIDIA's GPUs, through NVML (the driver's own library, by the package nvidia-ml-py), else through nvidia-smi.

Interface: NVML API Reference Guide; errors by their number there.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from freehold.hardware.commands import NOT_FOUND, Ran, Runner
from freehold.hardware.files import text
from freehold.hardware.gpu import Gpu, Gpus
from freehold.hardware.memory import linux_memory

_QUERY = ("--query-gpu=name,memory.total,driver_version,memory.free,compute_cap", "--format=csv,noheader,nounits")
_PLACES = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")  # Windows' own driver puts it there, outside of PATH

_NOT_LOADED, _NO_LIBRARY, _MISMATCH = 9, 12, 18  # nvmlReturn_t
_RESTART = "The driver was updated while it ran: restart the machine, or reload its modules (sudo rmmod nvidia_uvm nvidia)."
_REMEDIES = {
    4: "This user may not use the GPU: add it to the groups `video` and `render`, or give the container the GPU.",
    _NOT_LOADED: "The driver is installed and not loaded: sudo modprobe nvidia, or install it again for this kernel.",
    15: "The GPU has fallen off the bus: restart the machine, and check its power and its slot.",
    _MISMATCH: _RESTART,
}
_IN_CONTAINER = "Start the container with the GPU: --gpus all (Docker, with the NVIDIA Container Toolkit)."


def load_nvml() -> Any:
    """The library's Python face; importing it loads nothing of the driver yet."""
    import pynvml

    return pynvml


def nvidia_gpus(root: Path, run: Runner, nvml: Callable[[], Any], present: bool) -> Gpus:
    """The GPUs; a MIG slice counts as one. `present` says whether the kernel shows such a card."""
    library = nvml()
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        return _without_library(root, run, present, error)
    try:
        found = tuple(_gpus(library, root))
    except library.NVMLError as error:
        return Gpus((), f"the NVIDIA driver fails: {_said(error)}", _REMEDIES.get(error.value, _RESTART))
    finally:
        with contextlib.suppress(library.NVMLError):
            library.nvmlShutdown()
    return Gpus(found, None if found else "the NVIDIA driver lists no GPU")


def _gpus(library: Any, root: Path) -> Iterator[Gpu]:
    driver = f"NVIDIA {_plain(library.nvmlSystemGetDriverVersion())}"
    with contextlib.suppress(library.NVMLError):
        version = library.nvmlSystemGetCudaDriverVersion_v2()
        driver += f", CUDA {version // 1000}.{version % 1000 // 10}"
    number = 0
    for index in range(library.nvmlDeviceGetCount()):
        device = library.nvmlDeviceGetHandleByIndex(index)
        for part in _slices(library, device) or [device]:
            yield _gpu(library, part, device, number, driver, root)
            number += 1


def _slices(library: Any, device: Any) -> list[Any]:
    """The MIG slices of a device that is cut into such: the whole cannot be used then."""
    try:
        if not library.nvmlDeviceGetMigMode(device)[0]:
            return []
        most = library.nvmlDeviceGetMaxMigDeviceCount(device)
    except library.NVMLError:
        return []
    found = []
    for index in range(most):
        with contextlib.suppress(library.NVMLError):
            found.append(library.nvmlDeviceGetMigDeviceHandleByIndex(device, index))
    return found


def _gpu(library: Any, part: Any, device: Any, number: int, driver: str, root: Path) -> Gpu:  # noqa: PLR0917
    compute = ""
    with contextlib.suppress(library.NVMLError):
        compute = ".".join(map(str, library.nvmlDeviceGetCudaComputeCapability(device)))
    name = _plain(library.nvmlDeviceGetName(part))
    try:
        memory = library.nvmlDeviceGetMemoryInfo(part)
        return Gpu(name, memory.total, driver, "cuda", number, memory.free, False, compute)
    except library.NVMLError:
        # Boards whose GPU has no memory of its own (GB10, Jetson) do not tell any: it is the host's.
        host = linux_memory(root)
        return Gpu(name, host.total, driver, "cuda", number, host.available, True, compute)


def _without_library(root: Path, run: Runner, present: bool, error: Any) -> Gpus:
    if error.value != _NO_LIBRARY:
        loaded = f" (the kernel has {version})" if (version := kernel_driver(root)) else ""
        return Gpus((), f"the NVIDIA driver fails: {_said(error)}{loaded}", _REMEDIES.get(error.value, _RESTART))
    for program in _PLACES:
        ran = run((program, *_QUERY))
        if ran.code == 0:
            gpus = _parse(ran.out, root)
            return Gpus(gpus, None if gpus else "nvidia-smi lists no GPU")
        if ran.code != NOT_FOUND:
            return Gpus((), f"nvidia-smi fails: {_told(ran)}", _RESTART if "mismatch" in ran.out + ran.err else _REMEDIES[9])
    if not present:
        return Gpus((), "no NVIDIA driver")
    inside = (root / ".dockerenv").exists() or (root / "run/.containerenv").exists()
    remedy = _IN_CONTAINER if inside else "Install NVIDIA's driver, version 570 or later, and restart."
    return Gpus((), "an NVIDIA GPU is there, but no NVIDIA driver", remedy)


def _parse(listing: str, root: Path) -> tuple[Gpu, ...]:
    rows = [row for row in csv.reader(listing.splitlines(), skipinitialspace=True) if len(row) >= 3]
    return tuple(_row(number, [*row, "", ""], root) for number, row in enumerate(rows))


def _row(number: int, row: list[str], root: Path) -> Gpu:
    name, total, driver, free, compute = row[:5]
    known = re.fullmatch(r"\d+\.\d+", compute.strip())
    sizes = [int(size) * 2**20 if size.isdecimal() else 0 for size in (total, free)]
    unified = not sizes[0]
    if unified:
        host = linux_memory(root)
        sizes = [host.total, host.available]
    return Gpu(name, sizes[0], f"NVIDIA {driver}", "cuda", number, sizes[1], unified, known[0] if known else "")


def kernel_driver(root: Path) -> str | None:
    """The version of the loaded kernel module, which a library of another version cannot speak to."""
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)", text(root / "proc/driver/nvidia/version") or "")
    return found[1] if found else None


def _plain(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _said(error: Any) -> str:
    return str(error).rstrip(".")[:200]


def _told(ran: Ran) -> str:
    lines = [line.strip() for line in (ran.out + "\n" + ran.err).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:200] if lines else f"exit code {ran.code}"
