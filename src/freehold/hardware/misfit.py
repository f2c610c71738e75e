"""Why a model does not fit, in figures, and what would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from freehold.hardware.budget import Budget
from freehold.hardware.shape import Shape

GIB = 2**30
Fits = Callable[[Shape, int], bool]  # a shape, and tokens of context
_SHORTEST = 256  # tokens; less is no use to anybody

# Bits a weight of common files, as llama.cpp's own table of a 8B model has them (tools/quantize/README.md).
BITS: Mapping[str, float] = MappingProxyType(
    {
        "Q8_0": 8.50,
        "Q6_K": 6.56,
        "Q5_K_M": 5.70,
        "Q4_K_M": 4.89,
        "IQ4_XS": 4.46,
        "Q3_K_M": 4.00,
        "Q2_K": 3.16,
    }
)


@dataclass(frozen=True)
class Misfit:
    """A model that does not fit. `needed_bytes` is what it takes on the host alone, at the least that was asked for;
    `free_bytes` what each device has free.

    `reason` is a sentence with the figures. What would fit instead: `context` tokens (0: not even few), or a file in
    `quantization` (None: no smaller one) of about `quantization_bytes`.
    """

    needed_bytes: int
    free_bytes: Mapping[str, int]
    reason: str
    context: int = 0
    quantization: str | None = None
    quantization_bytes: int = 0


def misfit(shape: Shape, budget: Budget, least: int, needed: int, fits: Fits) -> Misfit:
    """The refusal of a model that takes `needed` bytes with `least` tokens; `fits` is asked what would do instead."""
    free = {device.name: device.free_bytes for device in budget.devices}
    context = _longest(shape, least, fits)
    smaller = _smaller(shape, least, fits)
    name, size = smaller or (None, 0)
    return Misfit(needed, free, _reason(needed, least, free, context, smaller), context, name, size)


def _reason(needed: int, least: int, free: Mapping[str, int], context: int, smaller: tuple[str, int] | None) -> str:
    room = ", ".join(f"{size / GIB:.1f} GiB on {name}" for name, size in free.items())
    said = f"It needs {needed / GIB:.1f} GiB with {least:,} tokens of context, and there is {room} free."
    instead = []
    if context:
        instead.append(f"{context:,} tokens of context")
    if smaller:
        instead.append(f"a {smaller[0]} file of about {smaller[1] / GIB:.1f} GiB")
    if not instead:
        return f"{said} No smaller form of it would fit."
    would = " or ".join(instead)
    return f"{said} {would[:1].upper()}{would[1:]} would fit."


def _longest(shape: Shape, least: int, fits: Fits) -> int:
    context = least // 2 // _SHORTEST * _SHORTEST
    while context >= _SHORTEST and not fits(shape, context):
        context = context // 2 // _SHORTEST * _SHORTEST
    return context


def _smaller(shape: Shape, least: int, fits: Fits) -> tuple[str, int] | None:
    """The largest of the common files, smaller than this one, that would fit."""
    if not shape.parameters:
        return None
    for name, bits in BITS.items():
        scale = shape.parameters * bits / 8 / max(1, shape.weights)
        if scale < 0.95 and fits(shape.scaled(scale), least):
            return name, int(shape.parameters * bits / 8)
    return None
