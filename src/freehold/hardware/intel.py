"""Intel's GPUs, as the kernel's drivers i915 and xe show them. Engines reach them through Vulkan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from freehold.hardware.files import number, text
from freehold.hardware.gpu import VENDORS, Gpu, cards
from freehold.hardware.memory import linux_memory
from freehold.hardware.vulkan import VulkanDevice

_LARGE = 2**30  # the window of a card's own memory, where it has any


def intel_gpus(root: Path, vulkan: Sequence[VulkanDevice]) -> list[Gpu]:
    """The GPUs, cards before what is part of a processor, as Vulkan numbers them."""
    found = []
    names = {seen.device: seen.name for seen in vulkan if seen.vendor == "Intel"}
    for card in cards(root):
        device = card / "device"
        if VENDORS.get(text(device / "vendor") or "") != "Intel":
            continue
        identity = text(device / "device") or ""
        name = names.get(identity) or f"Intel graphics {identity}".strip()
        driver = f"Intel {_driver(device)}".strip()
        own = number(card / "lmem_total_bytes") or number(device / "tile0/vram0/size") or _window(device)
        if own:
            found.append(Gpu(name, own, driver, "vulkan", 0, own))
        else:
            host = linux_memory(root)
            found.append(Gpu(name, host.total // 2, driver, "vulkan", 0, min(host.total // 2, host.available), True))
    return sorted(found, key=lambda gpu: gpu.unified)


def _driver(device: Path) -> str:
    lines = (text(device / "uevent") or "").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("DRIVER=")), "")


def _window(device: Path) -> int:
    """Bytes of the card's memory that the processor sees: the third line of the PCI device's resources."""
    lines = (text(device / "resource") or "").splitlines()
    try:
        first, last = (int(word, 16) for word in lines[2].split()[:2])
    except (IndexError, ValueError):
        return 0
    return last - first + 1 if last - first + 1 >= _LARGE else 0
