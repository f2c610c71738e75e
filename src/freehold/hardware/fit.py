"""Whether and how a model fits this machine: pure functions from a model's shape, a budget and a wish to a plan or a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from freehold.hardware.budget import Budget, Device, budget_of
from freehold.hardware.estimate import checkpoint_bytes, may_be_quantised
from freehold.hardware.misfit import Misfit, misfit
from freehold.hardware.placement import STAGES, Placement, Setup, host_bytes, place
from freehold.hardware.plan import Knobs, KvType, Plan
from freehold.hardware.shape import Shape, shape_of

__all__ = ["Budget", "Device", "Misfit", "Plan", "Shape", "Want", "budget_of", "plan", "shape_of"]

DEFAULT_CONTEXT = 4096
LEAST_CONTEXT = 2048
LEAST_POOLED_BATCH = 512  # tokens; the worker reads a text that becomes one vector in one batch, so the context is one
CHECKPOINTS = 4  # two at a prompt's end, and two of the turns before


@dataclass(frozen=True)
class Want:
    """What a model shall be able to do. 0 and "auto" leave it to the planner.

    `context` is in tokens a request; it is cut, where need be, down to `least_context`. `slots` are requests at a time.
    `gpu_layers` bounds the blocks on GPUs, None does not.
    """

    context: int = 0
    slots: int = 0
    kv_type: KvType | Literal["auto"] = "auto"
    prompt_cache_mib: int = 0
    knobs: Knobs = field(default_factory=Knobs)
    least_context: int = LEAST_CONTEXT
    gpu_layers: int | None = None


def plan(shape: Shape, budget: Budget, want: Want) -> Plan | Misfit:
    """The best place for a model within a budget, or why there is none.

    Tried in this order, the first that fits is taken: the whole wish; fewer slots; a KV cache of half the size (where flash
    attention reads one); more of the weights in the host's memory; less context. `notes` say what was cut.
    """
    asked = _asked(shape, budget, want)
    for context in _contexts(asked.context, want.least_context):
        for setup in _setups(shape, budget, want, _shorter(shape, asked, context)):
            found = place(shape, budget, setup)
            if found is not None:
                return _plan(shape, want, asked, setup, found)
    least = min(asked.context, want.least_context)
    *_, smallest = _sizes(shape, want, _shorter(shape, asked, least))

    def fits(other: Shape, context: int) -> bool:
        setups = _setups(other, budget, want, _shorter(other, asked, context))
        return any(place(other, budget, setup) for setup in setups)

    return misfit(shape, budget, least, host_bytes(shape, smallest), fits)


def _asked(shape: Shape, budget: Budget, want: Want) -> Setup:
    """The wish as a whole, with the planner's own choice where it is left open."""
    context = min(want.context or DEFAULT_CONTEXT, shape.trained_context or want.context or DEFAULT_CONTEXT)
    return Setup(
        context=context,
        slots=want.slots or _slots(shape, budget),
        kv_type="f16" if want.kv_type == "auto" else want.kv_type,
        prompt_cache_mib=0 if shape.pools else want.prompt_cache_mib,
        knobs=want.knobs,
        ubatch=_ubatch(shape, context, want.knobs),
        checkpoints=CHECKPOINTS if not shape.pools and checkpoint_bytes(shape, context, "f16") else 0,
        gpu_layers=0 if not budget.gpus else len(shape.layers) if want.gpu_layers is None else want.gpu_layers,
    )


def _shorter(shape: Shape, asked: Setup, context: int) -> Setup:
    return replace(asked, context=context, ubatch=_ubatch(shape, context, asked.knobs))


def _ubatch(shape: Shape, context: int, knobs: Knobs) -> int:
    """Tokens of a physical batch, as the worker sets it."""
    return max(LEAST_POOLED_BATCH, context) if shape.pools and not shape.splits else knobs.ubatch


def _slots(shape: Shape, budget: Budget) -> int:
    """Batching pays while the weights are read once for all: up to a few streams on a CPU, more on many cores or a GPU.

    A slot of an encoder costs nothing, and short texts of many clients share a batch.
    """
    if shape.encoder:
        return 16
    return 8 if budget.gpus or budget.cores >= 16 else 4


def _contexts(longest: int, least: int) -> Iterator[int]:
    """The context asked for, and its halves down to the least."""
    context = longest
    while context > least:
        yield context
        context //= 2
    yield min(longest, least)


def _setups(shape: Shape, budget: Budget, want: Want, asked: Setup) -> Iterator[Setup]:
    """The ways to run one context, best first. Left out is what all devices together have no room for: wherever a model lies,
    it takes no less than on the host alone, and most of what is too large is found so without a try."""
    sizes = [setup for setup in _sizes(shape, want, asked) if host_bytes(shape, setup) <= budget.capacity]
    for stage in STAGES if asked.gpu_layers else ("host",):
        for setup in sizes:
            yield replace(setup, stage=stage)


def _sizes(shape: Shape, want: Want, asked: Setup) -> Iterator[Setup]:
    """KV types and slots for one context, best first; the last needs least."""
    kv_types: list[KvType] = [asked.kv_type]
    if want.kv_type == "auto" and want.knobs.flash_attention != "off" and may_be_quantised(shape):
        kv_types.append("q8_0")
    for kv_type in kv_types:
        slots = asked.slots
        while slots:
            yield replace(asked, kv_type=kv_type, slots=slots)
            slots //= 2


def _plan(shape: Shape, want: Want, asked: Setup, setup: Setup, found: Placement) -> Plan:
    return Plan(
        context=setup.context,
        slots=setup.slots,
        kv_type=setup.kv_type,
        knobs=setup.knobs,
        gpu_layers=found.gpu_layers,
        tensor_split=tuple(map(float, found.counts)) if len(found.counts) > 1 else (),
        host_expert_layers=found.host_expert_layers,
        prompt_cache_mib=setup.prompt_cache_mib,
        checkpoints=setup.checkpoints,
        splits=shape.splits,
        memory=found.shares,
        notes=tuple(_notes(shape, want, asked, setup, found)),
    )


def _notes(shape: Shape, want: Want, asked: Setup, setup: Setup, found: Placement) -> Iterator[str]:
    if want.context > asked.context:
        yield f"context: {asked.context:,} tokens instead of {want.context:,}, because the model knows no more"
    if setup.slots < asked.slots:
        yield f"slots: {setup.slots} instead of {asked.slots}, for lack of memory"
    if setup.kv_type != asked.kv_type:
        yield f"KV cache: {setup.kv_type} instead of {asked.kv_type}, for lack of memory"
    if setup.context < asked.context:
        yield f"context: {setup.context:,} tokens instead of {asked.context:,}, for lack of memory"
    if found.host_expert_layers:
        yield f"experts of {found.host_expert_layers} of {len(shape.layers)} blocks are in the host's memory"
    if setup.stage in {"some on gpu", "host"} and asked.gpu_layers and found.gpu_layers < len(shape.layers):
        yield f"{found.gpu_layers} of {len(shape.layers)} blocks are on GPUs"
