"""AMD's GPUs, as the kernel's amdgpu driver shows them: sizes in /sys/class/drm, instruction sets in /sys/class/kfd.

Interface: kernel documentation, gpu/amdgpu; the topology of KFD is that of ROCm's ROCT-Thunk-Interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from freehold.hardware.files import number, table, text
from freehold.hardware.gpu import VENDORS, Gpu, GpuKind, cards
from freehold.hardware.memory import linux_memory
from freehold.hardware.vulkan import VulkanDevice

_SMALL = 2**30  # less than that is what firmware sets aside for a GPU that shares the host's memory


def amd_gpus(root: Path, vulkan: Sequence[VulkanDevice]) -> list[Gpu]:
    """The GPUs: for ROCm where it is installed and may be used, else for Vulkan."""
    version = text(root / "opt/rocm/.info/version")
    usable = version is not None and (root / "dev/kfd").exists()
    kind: GpuKind = "rocm" if usable else "vulkan"
    sets = _instruction_sets(root)
    found: list[Gpu] = []
    for card in cards(root):
        device = card / "device"
        if VENDORS.get(text(device / "vendor") or "") != "AMD":
            continue
        index = len(found)
        total, used = number(device / "mem_info_vram_total") or 0, number(device / "mem_info_vram_used") or 0
        unified = total < _SMALL
        free = total - used
        if unified:
            host = linux_memory(root)
            shared = number(device / "mem_info_gtt_total") or host.total // 2
            total, free = shared, min(shared, host.available)
        compute = sets[index] if index < len(sets) else ""
        names = [seen.name for seen in vulkan if seen.vendor == "AMD"]
        name = text(device / "product_name") or (names[index] if index < len(names) else f"AMD GPU {compute}".strip())
        driver = f"AMD ROCm {version}" if usable else "AMD amdgpu"
        found.append(Gpu(name, total, driver, kind, index, free, unified, compute))
    return found


def _instruction_sets(root: Path) -> list[str]:
    """ "gfx1100" and the like of each node that computes; the kernel writes them as numbers, 110000."""
    found = []
    for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*"), key=lambda path: path.name.zfill(4)):
        version = table(node / "properties", None).get("gfx_target_version", "0")
        if version.isdecimal() and int(version):
            major, minor, step = int(version) // 10_000, int(version) // 100 % 100, int(version) % 100
            found.append(f"gfx{major}{minor:x}{step:x}")
    return found
