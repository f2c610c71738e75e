"""The memory that models may take on this machine, device by device."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from freehold.hardware.gpu import Gpu
from freehold.hardware.plan import HOST, Share
from freehold.hardware.probe import Machine

_LEAST_RESERVE, _LARGEST_RESERVE = 2**27, 2**30


@dataclass(frozen=True)
class Device:
    """A place for weights. `name` is "host" or the engine's own ("cuda:0", "metal:0"), `kind` "cpu", "cuda", "rocm", "vulkan",
    "sycl" or "metal". `free_bytes` are what models may take. A `unified` device shares the host's memory: what lies there
    counts against both.
    """

    name: str
    kind: str
    total_bytes: int
    free_bytes: int
    unified: bool = False


@dataclass(frozen=True)
class Budget:
    """The host, and the GPUs that the engine's build can use, in its order. `cores` are the processors it may keep busy."""

    devices: tuple[Device, ...]
    cores: int = 1

    @property
    def host(self) -> Device:
        return next(device for device in self.devices if device.name == HOST)

    @property
    def gpus(self) -> tuple[Device, ...]:
        return tuple(device for device in self.devices if device.name != HOST)

    @property
    def capacity(self) -> int:
        """Bytes free on all devices together."""
        return self.host.free_bytes + sum(gpu.free_bytes for gpu in self.gpus if not gpu.unified)

    def shortfalls(self, shares: Iterable[Share]) -> dict[str, int]:
        """Bytes that are missing on each device if these shares lay there; empty when all fit."""
        needed = self.needed(shares)
        return {
            device.name: needed[device.name] - device.free_bytes
            for device in self.devices
            if needed[device.name] > device.free_bytes
        }

    def needed(self, shares: Iterable[Share]) -> dict[str, int]:
        """Bytes that these shares take of each device; what lies on a unified one takes of the host, too."""
        needed = dict.fromkeys((device.name for device in self.devices), 0)
        unified = {device.name for device in self.devices if device.unified and device.name != HOST}
        for share in shares:
            needed[share.device] += share.total
            if share.device in unified:
                needed[HOST] += share.total
        return needed


def budget_of(machine: Machine, backends: Collection[str] = (), reserve: int | None = None) -> Budget:
    """What is available on a machine, less a `reserve` that stays for the system and other programs.

    The reserve is in bytes of the host's memory, by default a sixteenth of it, 128 MiB to 1 GiB.

    `backends` are the kinds of GPU that the engine's build can use.
    """
    memory = machine.memory
    if reserve is None:
        reserve = min(_LARGEST_RESERVE, max(_LEAST_RESERVE, memory.total // 16))
    host = Device(HOST, "cpu", memory.total, max(0, memory.available - reserve))
    gpus = [(kind, gpu) for gpu in machine.gpus if (kind := _interface(gpu, backends))]
    kinds = [kind for kind, _ in gpus]
    devices = [
        Device(f"{kind}:{kinds[:index].count(kind)}", kind, gpu.memory_bytes, gpu.free_bytes, gpu.unified)
        for index, (kind, gpu) in enumerate(gpus)
    ]
    return Budget((host, *devices), machine.cpu.usable)


def _interface(gpu: Gpu, backends: Collection[str]) -> str | None:
    """How the engine's build reaches a GPU: by the interface of its maker, else by Vulkan, which all have but Apple's."""
    if gpu.kind in backends:
        return gpu.kind
    return "vulkan" if "vulkan" in backends and gpu.kind != "metal" else None
