"""What to try when a planned model did not get the memory it was planned with: the same model with about half of its cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from freehold.hardware.plan import HOST, Knobs, Plan, Share

_LEAST_CONTEXT = 512
_WIDE = frozenset({"f32", "f16", "bf16"})
_GPU_LAYERS_KEPT = 0.7


def smaller(plan: Plan, *, on_gpu: bool) -> tuple[Plan, str] | None:
    """A plan that needs clearly less of the memory that was short, and what was cut, for people; None when there is none.

    On a GPU fewer layers lie there. Else the slots are halved, or, with a single one, the cache's type is made 8-bit, or,
    where it is that already, the context is halved.
    """
    if on_gpu and plan.gpu_layers > 0:
        return _fewer_layers(plan)
    if plan.slots > 1:
        slots = plan.slots // 2
        less = replace(plan, slots=slots, memory=_scaled(plan.memory, slots / plan.slots))
        return _noted(less, f"{slots} instead of {plan.slots} requests at a time")
    if plan.kv_type in _WIDE:
        knobs: Knobs = replace(plan.knobs, flash_attention="on")  # without it, llama.cpp takes no quantised cache
        less = replace(plan, kv_type="q8_0", knobs=knobs, memory=_scaled(plan.memory, _q8_share(plan.kv_type)))
        return _noted(less, f"a KV cache of q8_0 instead of {plan.kv_type}")
    if plan.context >= 2 * _LEAST_CONTEXT:
        context = plan.context // 2
        less = replace(plan, context=context, memory=_scaled(plan.memory, 0.5))
        return _noted(less, f"a context of {context} instead of {plan.context} tokens")
    return None


def _fewer_layers(plan: Plan) -> tuple[Plan, str]:
    layers = int(plan.gpu_layers * _GPU_LAYERS_KEPT)
    kept = layers / plan.gpu_layers
    gpu = [share for share in plan.memory if share.device != HOST]
    moved = [_times(share, 1 - kept) for share in gpu]
    back = Share(HOST, sum(s.weights for s in moved), sum(s.kv for s in moved), sum(s.buffers for s in moved))
    memory = (*(share for share in plan.memory if share.device == HOST), *(_times(share, kept) for share in gpu))
    less = replace(plan, gpu_layers=layers, memory=(*memory, back) if gpu else memory)
    return _noted(less, f"{layers} instead of {plan.gpu_layers} layers on the GPU")


def _noted(plan: Plan, cut: str) -> tuple[Plan, str]:
    return replace(plan, notes=(*plan.notes, f"there was not enough memory to load it as planned: {cut}")), cut


def _scaled(memory: tuple[Share, ...], factor: float) -> tuple[Share, ...]:
    return tuple(replace(share, kv=int(share.kv * factor)) for share in memory)


def _times(share: Share, factor: float) -> Share:
    part: Callable[[int], int] = lambda count: int(count * factor)  # noqa: E731
    return Share(share.device, part(share.weights), part(share.kv), part(share.buffers))


def _q8_share(kv_type: str) -> float:
    """34 bytes hold 32 values of q8_0."""
    return 34 / 32 / (4 if kv_type == "f32" else 2)
