"""Where a model's blocks go: to GPUs as far as they fit, the rest to the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

from freehold.hardware.budget import Budget, Device
from freehold.hardware.estimate import (
    GPU_CONTEXT,
    GPU_HOST,
    MIB,
    checkpoint_bytes,
    compute_bytes,
    kv_bytes,
    output_bytes,
    process_bytes,
)
from freehold.hardware.layers import Layer
from freehold.hardware.plan import HOST, Knobs, KvType, Share
from freehold.hardware.shape import Shape

# All blocks on GPUs; all, without some experts; some blocks; none.
Stage = Literal["gpu", "gpu without experts", "some on gpu", "host"]
STAGES: tuple[Stage, ...] = ("gpu", "gpu without experts", "some on gpu", "host")


@dataclass(frozen=True)
class Setup:
    """One way to run a model: what a Plan says, before it has a place."""

    context: int
    slots: int
    kv_type: KvType
    prompt_cache_mib: int
    knobs: Knobs
    ubatch: int
    stage: Stage = "host"
    gpu_layers: int = 0  # at most
    checkpoints: int = 0

    def kv(self, layer: Layer) -> int:
        return kv_bytes(layer, self.context, self.slots, self.kv_type, self.ubatch)


@dataclass(frozen=True)
class Placement:
    """The last `gpu_layers` blocks and the output on GPUs, `counts` of them on each; `host_expert_layers` as in a Plan."""

    gpu_layers: int
    counts: tuple[int, ...]
    host_expert_layers: int
    shares: tuple[Share, ...]


def host_bytes(shape: Shape, setup: Setup) -> int:
    """What a model takes when all of it is in the host's memory."""
    return _host_share(shape, setup, len(shape.layers), 0).total


def place(shape: Shape, budget: Budget, setup: Setup) -> Placement | None:
    """The placement of that stage which holds most on GPUs, or None when it does not fit."""
    blocks = len(shape.layers)
    at_most = min(blocks, setup.gpu_layers)
    match setup.stage:
        case "host":
            found = _laid_out(shape, budget, setup, 0, 0)
        case "gpu":
            found = _laid_out(shape, budget, setup, blocks, 0) if at_most == blocks else None
        case "gpu without experts":
            if at_most < blocks or not any(layer.experts for layer in shape.layers):
                return None
            found = _first(range(1, blocks + 1), lambda kept: _laid_out(shape, budget, setup, blocks, kept))
        case "some on gpu":
            kept = blocks if any(layer.experts for layer in shape.layers) else 0
            counts = range(min(at_most, blocks - 1), 0, -1)
            found = _first(counts, lambda count: _laid_out(shape, budget, setup, count, kept))
    return found if found and not budget.shortfalls(found.shares) else None


def _first(choices: Sequence[int], attempt: Callable[[int], Placement | None]) -> Placement | None:
    """The first choice that the GPUs have room for, where each needs less of them than the one before."""
    low, high = 0, len(choices)
    while low < high:
        middle = (low + high) // 2
        if attempt(choices[middle]) is None:
            low = middle + 1
        else:
            high = middle
    return attempt(choices[low]) if low < len(choices) else None


def _laid_out(shape: Shape, budget: Budget, setup: Setup, gpu_layers: int, host_experts: int) -> Placement | None:
    """The shares of that many blocks on GPUs, or None when the GPUs have no room for them."""
    first = len(shape.layers) - gpu_layers
    kept = sum(layer.experts for layer in shape.layers[first:host_experts])
    host = _host_share(shape, setup, first, kept)
    if not gpu_layers:
        return Placement(0, (), 0, (host,))
    around = GPU_CONTEXT + compute_bytes(shape, setup.context, setup.slots, setup.ubatch, setup.knobs)
    items = [
        (layer.weights if index < host_experts else layer.size, setup.kv(layer))
        for index, layer in enumerate(shape.layers[first:], first)
    ]
    items.append((shape.output_bytes + shape.projector_bytes, 0))
    counts = _spread([sum(item) for item in items], budget.gpus, around)
    if counts is None:
        return None
    return Placement(gpu_layers, counts, host_experts, (host, *_gpu_shares(budget.gpus, items, counts, around)))


def _spread(costs: Sequence[int], gpus: Sequence[Device], around: int) -> tuple[int, ...] | None:
    """How many of the costs, in order, go to each GPU so that all are filled in proportion to what they have free."""
    rooms = [max(0, gpu.free_bytes - around) for gpu in gpus]
    best, low, high = _filled(costs, rooms), 0.0, 1.0
    for _ in range(12 if best and len(gpus) > 1 else 0):
        middle = (low + high) / 2
        found = _filled(costs, [int(room * middle) for room in rooms])
        best, low, high = (found, low, middle) if found else (best, middle, high)
    return best


def _filled(costs: Sequence[int], rooms: Sequence[int]) -> tuple[int, ...] | None:
    counts, at = [], 0
    for room in rooms:
        start, left = at, room
        while at < len(costs) and costs[at] <= left:
            left -= costs[at]
            at += 1
        counts.append(at - start)
    return tuple(counts) if at == len(costs) else None


def _host_share(shape: Shape, setup: Setup, host_layers: int, experts: int) -> Share:
    layers = shape.layers[:host_layers]
    whole = host_layers == len(shape.layers)
    weights = sum(layer.size for layer in layers) + experts
    if whole:
        weights += shape.ends + shape.projector_bytes
    else:
        weights += shape.input_bytes
    buffers = (
        process_bytes(shape)
        + compute_bytes(shape, setup.context, setup.slots, setup.ubatch, setup.knobs)
        + output_bytes(shape, setup.slots, setup.ubatch)
        + setup.slots * setup.checkpoints * checkpoint_bytes(shape, setup.context, setup.kv_type)
        + setup.prompt_cache_mib * MIB
        + (0 if whole else GPU_HOST)
    )
    return Share(HOST, weights, sum(map(setup.kv, layers)), buffers)


def _gpu_shares(
    gpus: Sequence[Device], items: Sequence[tuple[int, int]], counts: Sequence[int], around: int
) -> Iterator[Share]:
    """The share of each GPU that gets any of the (weights, KV) in order."""
    ends = [0, *accumulate(counts)]
    for gpu, (start, end) in zip(gpus, pairwise(ends), strict=True):
        if end > start:
            weights, kv = (sum(item[part] for item in items[start:end]) for part in (0, 1))
            yield Share(gpu.name, weights, kv, around)
