"""What is recommended on machines of all kinds, and why."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.hardware.budget import Budget, Device
from freehold.hardware.fit import Misfit, Plan, Want, plan, shape_of
from freehold.hardware.plan import HOST
from freehold.hardware.speed import Expected, Rates
from freehold.routing.advice import CONTEXT, NOT_FOR_BUSINESS, TASKS, Advice, Here, assess, memory_of, recommend
from freehold.routing.cards import advice_card, card, cards, select
from freehold.store import catalogue
from freehold.store.catalogue.entry import Entry, Task
from freehold.store.catalogue.shapes import published_shape
from freehold.store.store import Store

GIB = 2**30
ENTRIES = catalogue.all()


def machine(free: float, cores: int, bandwidth: float, *gpus: tuple[str, float, float], unified: bool = False) -> Here:
    """Free GiB, cores, GB/s; and GPUs: kind, free GiB, GB/s."""
    devices = [Device(HOST, "cpu", int(free * GIB * 1.2), int(free * GIB))]
    speeds, kinds = {HOST: bandwidth * 1e9}, {HOST: "cpu"}
    for number, (kind, room, speed) in enumerate(gpus):
        name = f"{kind}:{number}"
        devices.append(Device(name, kind, int(room * GIB), int(room * GIB), unified))
        speeds[name], kinds[name] = speed * 1e9, kind
    return Here(Budget(tuple(devices), cores), Rates(speeds, kinds, cores, ("AVX2",)))


MACHINES = {
    "a Raspberry Pi with 8 GB": machine(6.5, 4, 10),
    "a laptop with 8 GB": machine(5.5, 4, 25),
    "a laptop with 16 GB": machine(12, 8, 50),
    "a container of 2 cores and 2 GiB": machine(1.7, 2, 12),
    "a desktop with 32 GB": machine(28, 8, 60),
    "a workstation with 64 GB": machine(60, 16, 80),
    "a GPU with 8 GB": machine(26, 8, 50, ("cuda", 7.5, 448)),
    "a GPU with 24 GB": machine(56, 16, 60, ("cuda", 23.3, 1008)),
    "two GPUs with 24 GB": machine(58, 16, 60, ("cuda", 23.3, 936), ("cuda", 23.3, 936)),
    "a Mac with 36 GB": machine(27, 11, 150, ("metal", 27, 150), unified=True),
    "a GPU with 80 GB": machine(120, 16, 100, ("cuda", 79, 3350)),
}


@functools.cache
def advised(name: str, task: Task = "chat") -> Advice:
    return recommend(ENTRIES, task, MACHINES[name])


def pick(name: str, task: Task = "chat") -> Entry:
    advice = advised(name, task)
    assert advice.pick
    return advice.pick.entry


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("task", TASKS)
def test_every_machine_gets_a_model_for_every_task_that_fits_it(name: str, task: Task) -> None:
    here = MACHINES[name]
    advice = advised(name, task)
    assert advice.pick
    plan = advice.pick.outcome
    assert isinstance(plan, Plan)
    assert not here.budget.shortfalls(plan.memory)
    assert advice.pick.entry.served
    assert task in advice.pick.entry.tasks
    assert advice.pick.entry.license not in NOT_FOR_BUSINESS
    assert plan.context >= min(advice.pick.entry.context or CONTEXT, 2048 if task == "embedding" else CONTEXT)
    if advice.faster:
        assert advice.faster.speed
        assert advice.pick.speed
        assert advice.faster.points < advice.pick.points
    for candidate, why in advice.better:
        assert candidate.entry.quality[task] > advice.pick.entry.quality[task]
        assert any(digit in why for digit in "0123456789"), "a reason comes with figures"


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("a container of 2 cores and 2 GiB", 0.5e9, 2e9),
        ("a laptop with 8 GB", 2e9, 8e9),
        ("a laptop with 16 GB", 4e9, 22e9),
        ("a desktop with 32 GB", 20e9, 40e9),
        ("a GPU with 24 GB", 20e9, 80e9),
        ("a Mac with 36 GB", 20e9, 40e9),
        ("a GPU with 80 GB", 27e9, 300e9),
    ],
)
def test_the_picks_size_suits_the_machine(name: str, least: float, most: float) -> None:
    assert least <= pick(name).parameters <= most


def test_a_processor_gets_a_mixture_of_experts_where_a_gpu_gets_a_dense_model() -> None:
    assert pick("a desktop with 32 GB").active
    assert pick("a GPU with 24 GB").active is None


def test_more_memory_never_gives_a_worse_model() -> None:
    order = [
        pick(name).quality["chat"] for name in MACHINES if name.split()[-2] in {"8", "16", "32", "64"} and "GPU" not in name
    ]
    assert order[1:] == sorted(order[1:])


def test_a_model_that_fits_but_crawls_is_named_with_its_pace_and_not_picked() -> None:
    advice = advised("a desktop with 32 GB")
    slow = [why for candidate, why in advice.better if isinstance(candidate.outcome, Plan)]
    assert slow
    assert "tokens/s" in slow[0]


def test_a_model_that_does_not_fit_is_named_with_what_it_needs() -> None:
    advice = advised("a GPU with 24 GB")
    misfits = [(candidate, why) for candidate, why in advice.better if isinstance(candidate.outcome, Misfit)]
    assert misfits
    assert "GiB" in misfits[0][1]
    assert memory_of(misfits[0][0]) > 23 * GIB


def test_where_nothing_fits_the_smallest_is_named_and_why_not() -> None:
    advice = recommend(ENTRIES, "vision", machine(0.3, 1, 10))
    assert advice.pick is None
    assert advice.better
    assert "GiB" in advice.better[0][1]


def test_measured_speeds_replace_estimates() -> None:
    here = replace(MACHINES["a laptop with 16 GB"], measured=lambda digest: Expected(123.0, 456.0, measured=True))
    advice = recommend(ENTRIES, "chat", here)
    assert advice.pick
    assert advice.pick.speed == Expected(123.0, 456.0, measured=True) or not advice.pick.variant.pinned
    assert [item for item, _ in advice.better] or advice.pick.entry.parameters > 10e9


def test_a_users_own_model_is_recommended_when_its_quality_says_so() -> None:
    best = catalogue.find("qwen3:4b")
    assert best
    own = replace(best, name="ours:4b", quality={"chat": 99}, origin="user")
    assert recommend((*ENTRIES, own), "chat", MACHINES["a laptop with 16 GB"]).pick.entry.name == "ours:4b"  # type: ignore[union-attr]


def test_a_licence_without_business_use_is_no_recommendation() -> None:
    best = catalogue.find("qwen3:4b")
    assert best
    own = replace(best, name="ours:4b", quality={"chat": 99}, license="CC-BY-NC-4.0")
    assert recommend((*ENTRIES, own), "chat", MACHINES["a laptop with 16 GB"]).pick.entry.name != "ours:4b"  # type: ignore[union-attr]


def test_plans_before_the_download_ask_for_the_experts_windows_and_states_of_a_model() -> None:
    here = machine(400, 8, 60)

    def kv(name: str) -> int:
        entry = catalogue.find(name)
        assert entry
        found = assess(entry, entry.variant, here)
        assert found
        assert isinstance(found.outcome, Plan)
        return sum(share.kv for share in found.outcome.memory) // found.outcome.slots

    assert kv("llama3.1:8b") == 8192 * 32 * 2 * 8 * 128 * 2
    assert kv("gpt-oss:20b") < 8192 * 24 * 2 * 8 * 64 * 2 * 0.6, "half of its blocks keep a window only"
    assert kv("glm-4.7-flash:30b-a3b") == 8192 * 47 * 576 * 2
    assert kv("qwen3.5:9b") < kv("qwen3:8b") / 2
    assert kv("all-minilm:22m") == 0


@pytest.mark.parametrize("name", ["smollm2:135m", "all-minilm:22m"])
@pytest.mark.parametrize("context", [512, 2048, 8192])
def test_a_plan_before_the_download_is_within_a_tenth_of_the_plan_after_it(starters: Path, name: str, context: int) -> None:
    entry, manifest = catalogue.find(name), Store(starters).get(name)
    assert entry
    assert manifest.facts
    before = published_shape(entry)
    assert before
    budget = machine(64, 4, 30).budget
    plans = [plan(shape, budget, Want(context=context)) for shape in (before, shape_of(manifest.facts))]
    first, second = (sum(share.total for share in found.memory) for found in plans if isinstance(found, Plan))
    assert first == pytest.approx(second, rel=0.1)


def test_cards_say_all_that_is_known_and_select_finds_by_words_and_task() -> None:
    assert [entry.name for entry in select(ENTRIES, "QWEN coder 32b")] == ["qwen2.5-coder:32b"]
    assert {entry.family for entry in select(ENTRIES, "", "rerank")} == {
        "qwen3-reranker",
        "jina-reranker",
        "bge-reranker-v2-m3",
    }
    assert select(ENTRIES, "no such thing") == []
    shown = card(ENTRIES[0])
    assert shown["fits"] is None
    assert shown["variants"][0]["trust"] == "verified"
    here = MACHINES["a laptop with 8 GB"]
    fitting = cards(select(ENTRIES, "llama3"), here, fitting=True)
    everything = cards(select(ENTRIES, "llama3"), here)
    assert {row["name"] for row in fitting} == {row["name"] for row in everything if row["fits"]["fits"]}
    assert len(fitting) < len(everything)
    assert "GiB" in next(row["fits"]["reason"] for row in everything if not row["fits"]["fits"])


def test_a_recommendation_as_json_names_what_to_pull() -> None:
    shown = advice_card(advised("a laptop with 8 GB"))
    assert catalogue.find(shown["pick"]["pull"])
    assert shown["pick"]["fits"]["speed"]["measured"] is False
    assert all(row["why_not"] for row in shown["better"])
