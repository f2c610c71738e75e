"""How fast a model will be, before it has run: an estimate from the memory's bandwidth and the processor's cores.

Decoding reads the weights that a token uses once, and its KV cache; reading a prompt is bound by arithmetic. `freehold tune`
measures both, and its figures replace these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from freehold.hardware.plan import HOST, Plan, Share
from freehold.hardware.shape import Shape

# The share of the bandwidth that llama.cpp's kernels reach, and what a core can decode and multiply: from a 135M model on two
# AVX-512 cores (54 to 100 tokens/s of 98 MB, 250 to 780 prompt tokens/s by format and build), so within a factor of two.
_REACHED = 0.7
_DECODED_PER_CORE = 5e9  # bytes of weights a second
_FLOPS_PER_CORE = 50e9
_SLOW_FLOPS_PER_CORE = 25e9  # formats that llama.cpp does not rearrange for the processor, or no AVX2
_SLOW = frozenset({"Q4_1", "Q5_0", "Q5_1", "F16", "BF16", "F32", "MXFP4"})
_FAST_SETS = frozenset({"AVX2", "DOTPROD"})
# Operations that GPUs reach in llama.cpp for each byte of their bandwidth: from its published pp512 results of 7B models.
_FLOPS_PER_BYTE: Mapping[str, float] = MappingProxyType({"cuda": 80, "rocm": 40, "vulkan": 30, "sycl": 30, "metal": 25})
_OVERHEAD = 0.0005  # seconds a token for sampling and the calls around it


@dataclass(frozen=True)
class Rates:
    """What this machine can do: bytes a second of each device's memory, by the names in a budget; kinds of GPUs; cores."""

    bandwidth: Mapping[str, float]
    kinds: Mapping[str, str]
    cores: int
    instruction_sets: Collection[str] = ()


@dataclass(frozen=True)
class Expected:
    """Tokens a second of one request: writing an answer, reading a prompt. `measured` on this machine, else estimated."""

    decode: float
    prefill: float
    measured: bool = False


def expected(shape: Shape, plan: Plan, rates: Rates, used: float = 1.0) -> Expected:
    """The speed of a plan. `used` is the share of the blocks' weights that a token uses: less than 1 with experts."""
    decode, prefill = _OVERHEAD, 0.0
    weights = {share.device: _read(shape, plan, share) for share in plan.memory}
    total = sum(weights.values()) or 1
    for share in plan.memory:
        read = weights[share.device] * used + share.kv / max(1, plan.slots) / 4  # a context is a quarter full, on average
        flops = 2 * shape.parameters * used * weights[share.device] / total
        decode += read / _bytes_per_second(share.device, rates)
        prefill += flops / _flops(share.device, shape, rates)
    return Expected(1 / decode, 1 / prefill if prefill else 0.0)


def _read(shape: Shape, plan: Plan, share: Share) -> int:
    """Bytes of a device's weights that every token passes: not the table of the input, of which it needs a row, nor the
    projector, which reads pictures."""
    if share.device != HOST:
        return share.weights
    whole = plan.gpu_layers == 0 and shape.tied  # then the input's table is the output's, too
    return max(0, share.weights - shape.projector_bytes - (0 if whole else shape.input_bytes))


def _bytes_per_second(device: str, rates: Rates) -> float:
    reached = rates.bandwidth[device] * _REACHED
    return min(reached, rates.cores * _DECODED_PER_CORE) if device == HOST else reached


def _flops(device: str, shape: Shape, rates: Rates) -> float:
    if device != HOST:
        return rates.bandwidth[device] * _FLOPS_PER_BYTE.get(rates.kinds[device], 30)
    fast = shape.quantization not in _SLOW and bool(_FAST_SETS & set(rates.instruction_sets))
    return rates.cores * (_FLOPS_PER_CORE if fast else _SLOW_FLOPS_PER_CORE)
