"""What Vulkan's own tool says, `vulkaninfo --summary`; without it, whether a driver for it is installed at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from freehold.hardware.commands import Runner

_VENDORS = {"0x1002": "AMD", "0x8086": "Intel", "0x10de": "NVIDIA"}


@dataclass(frozen=True)
class VulkanDevice:
    """A device: its `name`, its `vendor` ("" for an unknown one), and its PCI `device` number ("0x56a0")."""

    name: str
    vendor: str
    device: str
    integrated: bool


def vulkan_devices(run: Runner) -> tuple[VulkanDevice, ...]:
    """The devices, without those that are a program on the processor."""
    ran = run(("vulkaninfo", "--summary"))
    if ran.code != 0:
        return ()
    found = []
    for part in re.split(r"^GPU\d+:$", ran.out, flags=re.MULTILINE)[1:]:
        values = dict(re.findall(r"^\s*(\w+)\s*=\s*(.+?)\s*$", part, re.MULTILINE))
        kind = values.get("deviceType", "")
        if "CPU" not in kind:
            vendor = _VENDORS.get(values.get("vendorID", "").lower(), "")
            device = values.get("deviceID", "").lower()
            found.append(VulkanDevice(values.get("deviceName", "unknown"), vendor, device, "INTEGRATED" in kind))
    return tuple(found)


def vulkan_drivers(root: Path) -> tuple[str, ...]:
    """Drivers that are installed, by their files (Vulkan-Loader, LoaderDriverInterface): "radeon", "intel", "nvidia"."""
    names = []
    for folder in ("usr/share/vulkan/icd.d", "etc/vulkan/icd.d"):
        names += [path.name.split("_icd")[0] for path in sorted((root / folder).glob("*.json"))]
    return tuple(dict.fromkeys(name for name in names if name not in {"lvp", "gfxstream_vk"}))
