"""GPUs of a Linux machine: NVIDIA's by their driver's library, others by what the kernel shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from freehold.hardware.commands import Runner
from freehold.hardware.files import text

GpuKind = Literal["cuda", "rocm", "vulkan", "metal"]
VENDORS = {"0x1002": "AMD", "0x8086": "Intel", "0x10de": "NVIDIA"}


@dataclass(frozen=True)
class Gpu:
    """`memory_bytes` is what an engine may use of it at most, and `free_bytes` now; 0 where nobody tells.

    `kind` is the engine's interface that suits it best, `index` its number among those of that kind. A `unified` one shares the
    host's memory. `compute` is NVIDIA's compute capability ("8.9") or AMD's instruction set ("gfx1100").
    """

    name: str
    memory_bytes: int
    driver: str
    kind: GpuKind = "cuda"
    index: int = 0
    free_bytes: int = 0
    unified: bool = False
    compute: str = ""


@dataclass(frozen=True)
class Gpus:
    """What was found, or why nothing was and what would change that."""

    found: tuple[Gpu, ...] = ()
    reason: str | None = None
    remedy: str | None = None


def linux_gpus(root: Path, run: Runner, nvml: Callable[[], Any]) -> Gpus:
    """All GPUs that an engine could use. `nvml` gives NVIDIA's library as pynvml has it."""
    from freehold.hardware.amd import amd_gpus
    from freehold.hardware.intel import intel_gpus
    from freehold.hardware.nvidia import nvidia_gpus
    from freehold.hardware.vulkan import vulkan_devices, vulkan_drivers

    present = {VENDORS.get(text(card / "device/vendor") or "") for card in cards(root)}
    vulkan = vulkan_devices(run)
    nvidia = nvidia_gpus(root, run, nvml, "NVIDIA" in present)
    others = (*amd_gpus(root, vulkan), *intel_gpus(root, vulkan))
    if not nvidia.found and not others:
        return nvidia
    found = (*nvidia.found, *others)
    if nvidia.remedy:  # a card that does not work is told even beside others that do
        return Gpus(found, nvidia.reason, nvidia.remedy)
    if any(gpu.kind == "vulkan" for gpu in others) and not vulkan and not vulkan_drivers(root):
        return Gpus(found, "no Vulkan driver is installed", "Vulkan's driver: sudo apt install mesa-vulkan-drivers.")
    return Gpus(found)


def cards(root: Path) -> list[Path]:
    """The folders of the kernel's graphics cards, without their connectors."""
    folder = root / "sys/class/drm"
    return sorted(path for path in folder.glob("card*") if path.name.removeprefix("card").isdecimal())
