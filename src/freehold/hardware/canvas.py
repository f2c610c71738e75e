"""Where a model that draws lies on this machine, in which number format, and the memory that takes. Pure, as `fit` is for text.

A model's weights are known to the number; what computing takes is estimated from the picture: the autoencoder's last layers
have a few hundred numbers for each of its pixels, and nothing before them is as large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freehold.hardware.budget import Budget, Device
from freehold.hardware.misfit import Misfit
from freehold.hardware.plan import HOST, Knobs, Place, Plan, Share

GIB = 2**30
_PROCESS = int(0.6 * GIB)  # torch and the libraries around it, before there is a model
_GPU_PROCESS = int(1.5 * GIB)  # the same with a GPU's libraries
_GPU_CONTEXT = int(0.5 * GIB)  # of a GPU's memory, before there is a model
_LIVE = 3 * 256  # numbers for each pixel that are alive at once in the autoencoder: three layers' outputs of 256 channels
_TORCH_NAMES = {"cuda": "cuda", "rocm": "cuda", "metal": "mps"}


@dataclass(frozen=True)
class Canvas:
    """What a plan needs to know: parameters of all parts, and of the largest, which offloading brings to the GPU as one; pixels
    of the usual picture; whether the denoiser is a UNet."""

    parameters: int
    largest: int
    pixels: int
    unet: bool

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Canvas | None:
        """From a manifest's options; None where they do not say it."""
        components = options.get("components")
        if not isinstance(components, dict) or not components:
            return None
        counts = [int(component["parameters"]) for component in components.values()]
        return cls(sum(counts), max(counts), int(options["size"]) ** 2, "unet" in components)

    def computing(self, width: int) -> int:
        """Bytes beside the weights, in numbers of that many bytes."""
        return self.pixels * _LIVE * width


def plan(canvas: Canvas, budget: Budget, knobs: Knobs) -> Plan | Misfit:
    """On a GPU as a whole, else there part by part, else on the processor; the first that fits."""
    candidates = [*(way for gpu in budget.gpus if gpu.kind in _TORCH_NAMES for way in _on_gpu(canvas, gpu)), *_on_host(canvas)]
    for place, shares in candidates:
        if not budget.shortfalls(shares):
            layers = 1 if place.device != "cpu" else 0
            return Plan(context=0, slots=1, knobs=knobs, gpu_layers=layers, memory=shares, place=place)
    _, least = candidates[-1]
    needed = sum(share.total for share in least)
    free = {device.name: device.free_bytes for device in budget.devices}
    room = ", ".join(f"{count / GIB:.1f} GiB on {name}" for name, count in free.items())
    return Misfit(needed, free, f"It needs {needed / GIB:.1f} GiB to draw, and there is {room} free.")


def _on_gpu(canvas: Canvas, gpu: Device) -> list[tuple[Place, tuple[Share, ...]]]:
    device = gpu.name if _TORCH_NAMES[gpu.kind] != "mps" else "mps"
    device = device.replace("rocm", "cuda")
    dtype = "float16" if canvas.unet else "bfloat16"
    process = Share(HOST, 0, 0, _GPU_PROCESS)
    whole = (process, Share(gpu.name, 2 * canvas.parameters, 0, canvas.computing(2) + _GPU_CONTEXT))
    ways: list[tuple[Place, tuple[Share, ...]]] = [(Place(device, dtype), whole)]
    if not gpu.unified:  # where the memory is one, there is nowhere to take the other parts
        parted = (
            Share(HOST, 2 * canvas.parameters, 0, _GPU_PROCESS),
            Share(gpu.name, 2 * canvas.largest, 0, canvas.computing(2) + _GPU_CONTEXT),
        )
        ways.append((Place(device, dtype, offload=True), parted))
    return ways


def _on_host(canvas: Canvas) -> list[tuple[Place, tuple[Share, ...]]]:
    """Full precision is what processors compute fastest; half of it takes half the memory."""
    return [
        (Place("cpu", dtype), (Share(HOST, width * canvas.parameters, 0, canvas.computing(width) + _PROCESS),))
        for dtype, width in (("float32", 4), ("bfloat16", 2))
    ]
