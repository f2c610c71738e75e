"""Which build of PyTorch suits a machine, and where it comes from.

The package index has one build a system: for Linux CUDA's, for macOS Metal's. All others are on PyTorch's own index, a folder
each (https://pytorch.org/get-started/previous-versions).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import SourceUnreachable, StoreError
from freehold.fleet import environments
from freehold.fleet.environments import Device
from freehold.hardware.gpu import Gpu
from freehold.hardware.probe import Machine
from freehold.store import pip

PYPI = "pypi"
LOCK = environments.LOCKS / "torch.lock"  # of the build on the package index, with all it needs
_ROCM, _OLD_CUDA = "rocm7.2", "cu126"
_DRIVER, _COMPUTE = 580, 7.5  # the oldest driver and the oldest cards that CUDA 13 works with
_FOLDER = re.compile(r"cpu|cu[0-9]{3}|rocm[0-9]+(\.[0-9]+)+")
_BYTES: dict[Device, int] = {"cpu": 760_000_000, "metal": 500_000_000, "cuda": 8 * 10**9, "rocm": 18 * 10**9}


@dataclass(frozen=True)
class Choice:
    """`folder` is that of PyTorch's index, or "pypi" for the package index's own build."""

    folder: str
    device: Device

    @property
    def bytes(self) -> int:
        """Of disk that it takes while it is installed, roughly."""
        return _BYTES["cuda" if self.folder == PYPI and self.device == "cpu" else self.device]


def choose(machine: Machine, asked: str | None = None) -> Choice:
    """The build for this machine's GPU, else for its processor; or the one that was `asked` for. Raises StoreError."""
    kinds = {gpu.kind for gpu in machine.gpus}
    if asked is not None:
        if asked != PYPI and not _FOLDER.fullmatch(asked):
            raise StoreError(
                f"{asked[:40]!a} is no build of torch.",
                "There are cpu, cu126, cu130, rocm7.2, and pypi: the package index's own.",
            )
        return Choice(asked, _device(asked, machine))
    if machine.system == "Darwin":
        return Choice(PYPI, "metal" if "metal" in kinds else "cpu")
    nvidia = [gpu for gpu in machine.gpus if gpu.kind == "cuda"]
    if nvidia:
        return Choice(PYPI if all(map(takes_cuda_13, nvidia)) else _OLD_CUDA, "cuda")
    return Choice(_ROCM, "rocm") if "rocm" in kinds else Choice("cpu", "cpu")


def install(choice: Choice, python: Path, index: str, work: Path, look: Callable[[], None]) -> str:
    """Installs it for that Python, and returns where it came from. `index` is the address that PyTorch's folders are below.

    The user's own index is asked first, as a mirror may have the build. Raises SourceUnreachable, DiskFull.
    """
    if choice.folder == PYPI:
        return _run(("-r", str(LOCK), "--require-hashes", "--no-deps"), python, work, look)
    # What a build for the processor or for ROCm needs of other packages is in the environment's lock; CUDA comes in packages.
    exact = f"torch=={environments.TORCH}+{choice.folder}"
    wanted = (exact,) if choice.device == "cuda" else (exact, "--no-deps")
    try:
        return _run(wanted, python, work, look)
    except SourceUnreachable:
        return _run((*wanted, "--extra-index-url", f"{index.rstrip('/')}/{choice.folder}"), python, work, look)


def _run(wanted: tuple[str, ...], python: Path, work: Path, look: Callable[[], None]) -> str:
    told = work / "report.json"
    arguments = ("--python", str(python), "install", "--only-binary=:all:", "--report", str(told), *wanted)
    pip.run(arguments, work, f"torch {environments.TORCH}", look, pip.NOT_THE_USERS)
    try:
        items = json.loads(told.read_text(encoding="utf-8"))["install"]
        (info,) = (item["download_info"] for item in items if item["metadata"]["name"] == "torch")
        return f"{info['url'].rpartition('/')[2]} sha256:{info['archive_info']['hashes']['sha256']}"
    except (ValueError, KeyError, TypeError):
        raise SourceUnreachable("pip did not say which torch it installed.", pip.CONFIGURATION) from None


def _device(asked: str, machine: Machine) -> Device:
    if asked == PYPI:
        found = {gpu.kind for gpu in machine.gpus}
        return "cuda" if "cuda" in found else "metal" if "metal" in found else "cpu"
    return "cpu" if asked == "cpu" else "rocm" if asked.startswith("rocm") else "cuda"


def takes_cuda_13(gpu: Gpu) -> bool:
    """Whether CUDA 13 works with a card and its driver; what is not known is no hindrance."""
    driver = re.search(r"NVIDIA (\d+)", gpu.driver)
    compute = re.fullmatch(r"\d+\.\d+", gpu.compute)
    return (not driver or int(driver[1]) >= _DRIVER) and (not compute or float(gpu.compute) >= _COMPUTE)
