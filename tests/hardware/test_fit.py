"""Plans: what fits is placed best, what does not is refused in figures; for any model, any memory and any wish."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.hardware import fit
from freehold.hardware.fit import Budget, Device, Misfit, Plan, Shape, Want, plan
from freehold.hardware.layers import Layer
from freehold.hardware.placement import place
from freehold.hardware.plan import HOST, Knobs

GIB, MIB = 2**30, 2**20


def llama8b(bits: float = 4.9) -> Shape:
    """Llama 3.1 8B in about Q4_K_M."""
    block = Layer(weights=int(218e6 * bits / 8), kv_heads=8, key_length=128, value_length=128)
    ends = int(525e6 * bits / 8)
    return Shape((block,) * 32, ends, ends, False, 128_256, 4096, 14_336, 32, 131_072, parameters=8_030_000_000)


def moe30b() -> Shape:
    """Qwen3 30B-A3B in about Q4_K_M."""
    block = Layer(weights=20 * MIB, experts=345 * MIB, kv_heads=4, key_length=128, value_length=128)
    return Shape((block,) * 48, 180 * MIB, 250 * MIB, False, 151_936, 2048, 768, 32, 40_960, parameters=30_500_000_000)


def host(free: int) -> Device:
    return Device(HOST, "cpu", free, free)


def gpu(free: int, index: int = 0, unified: bool = False) -> Device:
    return Device(f"cuda:{index}", "cuda", free, free, unified)


def planned(shape: Shape, *devices: Device, **want: object) -> Plan:
    found = plan(shape, Budget(devices, cores=8), Want(**want))  # type: ignore[arg-type]
    assert isinstance(found, Plan), found
    return found


def test_what_fits_is_left_whole() -> None:
    found = planned(llama8b(), host(32 * GIB), context=8192, slots=4)
    assert (found.context, found.slots, found.kv_type, found.notes) == (8192, 4, "f16", ())
    [share] = found.memory
    assert share.kv == 4 * 8192 * 32 * 8 * 256 * 2
    assert share.weights == llama8b().weights


def test_cuts_come_in_order_and_are_said() -> None:
    seen = [planned(llama8b(), host(int(size * GIB)), context=16_384, slots=4) for size in (14.5, 10, 6.6, 5.6)]
    assert [(found.slots, found.kv_type, found.context) for found in seen] == [
        (4, "f16", 16_384),
        (2, "f16", 16_384),
        (1, "q8_0", 16_384),
        (1, "q8_0", 8192),
    ]
    assert ["slots" in str(found.notes) for found in seen] == [False, True, True, True]
    assert "KV cache: q8_0 instead of f16" in str(seen[2].notes)
    assert "8,192 tokens instead of 16,384" in str(seen[3].notes)


def test_a_kv_cache_is_not_quantised_where_that_is_not_possible() -> None:
    tight = host(int(6.6 * GIB))
    assert planned(llama8b(), tight, context=16_384).kv_type == "q8_0"
    assert planned(llama8b(), tight, context=16_384, knobs=Knobs(flash_attention="off")).kv_type == "f16"
    odd = replace(llama8b(), layers=tuple(replace(layer, value_length=80) for layer in llama8b().layers))
    assert planned(odd, tight, context=16_384).kv_type == "f16"


def test_no_more_context_than_the_model_was_trained_for() -> None:
    found = planned(moe30b(), host(64 * GIB), context=100_000)
    assert found.context == 40_960
    assert "knows no more" in found.notes[0]


def test_a_gpu_with_room_holds_everything() -> None:
    found = planned(llama8b(), host(16 * GIB), gpu(24 * GIB))
    assert (found.gpu_layers, found.tensor_split, found.slots) == (32, (), 8)
    assert found.on("cuda:0") > 5 * GIB
    assert found.on(HOST) < 2 * GIB


def test_a_small_gpu_holds_as_many_blocks_as_fit() -> None:
    found = planned(llama8b(), host(32 * GIB), gpu(4 * GIB))
    assert 10 < found.gpu_layers < 32
    assert found.on("cuda:0") <= 4 * GIB
    assert f"{found.gpu_layers} of 32 blocks" in str(found.notes)


def test_experts_go_to_the_host_before_whole_blocks_do() -> None:
    found = planned(moe30b(), host(32 * GIB), gpu(8 * GIB))
    assert found.gpu_layers == 48
    assert 0 < found.host_expert_layers < 48


def test_two_gpus_are_filled_in_proportion_to_their_free_memory() -> None:
    found = planned(llama8b(16), host(32 * GIB), gpu(24 * GIB), gpu(12 * GIB, 1), context=4096, slots=1)
    assert found.gpu_layers == 32
    assert sum(found.tensor_split) == 33  # the output counts as a block
    assert 1.5 < found.on("cuda:0") / found.on("cuda:1") < 3


def test_unified_memory_counts_once() -> None:
    shared = (host(12 * GIB), Device("metal:0", "metal", 16 * GIB, 11 * GIB, unified=True))
    found = planned(llama8b(), *shared)
    assert found.gpu_layers == 32
    assert sum(share.total for share in found.memory) <= 12 * GIB


def test_a_misfit_is_told_in_figures_with_what_would_fit_instead() -> None:
    found = plan(llama8b(), Budget((host(4 * GIB),)), Want())
    assert isinstance(found, Misfit)
    assert found.needed_bytes > found.free_bytes[HOST] == 4 * GIB
    assert "4.0 GiB on host" in found.reason
    assert found.quantization == "Q2_K"
    assert isinstance(plan(llama8b(), Budget((host(GIB),)), Want()), Misfit)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    moe, encoder = draw(st.booleans()), draw(st.booleans())
    layer = st.builds(
        Layer,
        weights=st.integers(MIB, 200 * MIB),
        experts=st.integers(MIB, 400 * MIB) if moe else st.just(0),
        kv_heads=st.just(0) if encoder else st.sampled_from([1, 2, 8]),
        key_length=st.sampled_from([64, 80, 128]),
        value_length=st.sampled_from([64, 128]),
        window=st.sampled_from([0, 0, 512]),
        state=st.sampled_from([0, 0, MIB]),
    )
    ends = draw(st.integers(MIB, 500 * MIB))
    layers = tuple(draw(st.lists(layer, min_size=1, max_size=20)))
    return Shape(
        layers,
        ends,
        ends,
        draw(st.booleans()),
        32_000,
        2048,
        4096,
        16,
        8192,
        encoder,
        parameters=draw(st.integers(10**7, 10**10)),
    )


SIZES = st.integers(0, 24 * GIB)
WANTS = st.builds(
    Want,
    context=st.sampled_from([0, 512, 4096, 8192, 100_000]),
    slots=st.integers(0, 9),
    kv_type=st.sampled_from(["auto", "f16", "q4_0"]),
    prompt_cache_mib=st.sampled_from([0, 512]),
    knobs=st.sampled_from([Knobs(), Knobs(flash_attention="off")]),
)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    cards = draw(st.integers(0, 3))
    unified = cards == 1 and draw(st.booleans())
    devices = [host(draw(SIZES)), *(gpu(draw(SIZES), index, unified) for index in range(cards))]
    return Budget(tuple(devices), draw(st.integers(1, 64)))


@settings(max_examples=60, deadline=None)
@given(shapes(), budgets(), WANTS)
def test_a_plan_stays_within_the_budget_and_a_misfit_does_not(shape: Shape, budget: Budget, want: Want) -> None:
    found = plan(shape, budget, want)
    assert found == plan(shape, budget, want)
    if isinstance(found, Plan):
        assert not budget.shortfalls(found.memory)
        assert found.slots >= 1
        assert 0 < found.context <= shape.trained_context
        assert found.gpu_layers <= len(shape.layers)
        assert not found.tensor_split or sum(found.tensor_split) == found.gpu_layers + 1
        return
    assert found.needed_bytes > budget.host.free_bytes
    if found.context:
        smaller = replace(want, context=found.context, least_context=found.context)
        assert isinstance(plan(shape, budget, smaller), Plan)


def rank(found: Plan | Misfit, shape: Shape) -> tuple[int, ...]:
    """How good a plan is: context before blocks on GPUs, before the KV cache's type and the slots."""
    if isinstance(found, Misfit):
        return (0,)
    stage = 0 if not found.gpu_layers else 1 if found.gpu_layers < len(shape.layers) else 3 - bool(found.host_expert_layers)
    return (found.context, stage, found.kv_type != "q8_0", found.slots)


@settings(max_examples=60, deadline=None)
@given(shapes(), budgets(), WANTS, st.integers(0, 3), st.integers(0, 8 * GIB))
def test_more_memory_never_gives_a_worse_plan(shape: Shape, budget: Budget, want: Want, which: int, more: int) -> None:
    devices = list(budget.devices)
    at = which % len(devices)
    devices[at] = replace(devices[at], free_bytes=devices[at].free_bytes + more)
    larger = replace(budget, devices=tuple(devices))
    assert rank(plan(shape, larger, want), shape) >= rank(plan(shape, budget, want), shape)


@pytest.mark.parametrize("shape", [llama8b(), moe30b()])
def test_planning_is_quick(shape: Shape) -> None:
    import time

    start = time.monotonic()
    plan(shape, Budget((host(GIB), gpu(GIB), gpu(GIB, 1))), Want(context=32_768, slots=64))
    assert time.monotonic() - start < 5


def test_what_is_too_large_for_all_devices_together_is_placed_nowhere_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """With unified memory, a GPU that says it has room holds no more than the host has free: each try would end there."""
    tried = []
    monkeypatch.setattr(fit, "place", lambda shape, budget, setup: tried.append(setup) or place(shape, budget, setup))
    shared = Budget((host(4 * GIB), Device("metal:0", "metal", 64 * GIB, 48 * GIB, unified=True)))
    found = plan(llama8b(8.5), shared, Want(context=131_072, slots=32))
    assert isinstance(found, Misfit)
    assert found.quantization == "Q2_K"
    assert len(tried) < 30
