"""Each knob has its effect on the real engine: what a search varies is what the engine does."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import ModelFailed
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment, launch
from freehold.fleet.supervisor import Supervisor
from freehold.fleet.tune.texts import Writer
from freehold.hardware.plan import Knobs, Plan
from freehold.settings import TimeoutSettings
from freehold.store.store import Store

PLAN = Plan(context=512, slots=2)
COPYING = Writer(1).copying(60)


def with_worker(starters: Path, plan: Plan, use: Callable[[EngineClient, int], Awaitable[Any]], draft: bool = False) -> Any:
    """What `use` makes of a worker of the starter model under that plan, given its client and its memory in bytes."""
    store = Store(starters)
    weights = store.serving(store.get("smollm2:135m"), "weights")
    deployment = Deployment("m", "chat", "llama.cpp", plan, "auto", weights=weights, draft=weights if draft else None)

    async def run() -> Any:
        with tempfile.TemporaryDirectory(prefix="fh-") as runtime:
            supervisor = Supervisor(Path(runtime), TimeoutSettings(hang=120))
            try:
                client = await supervisor.ensure_ready(deployment)
                return await use(client, supervisor.status()[0].rss_bytes or 0)
            finally:
                await supervisor.close()

    return asyncio.run(run())


async def copied(client: EngineClient, memory: int) -> dict[str, Any]:
    """The end of an answer that repeats its prompt."""
    body = {
        "prompt": COPYING,
        "n_predict": 32,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
        "return_tokens": True,
    }
    answer = await client.post("/completion", json.dumps(body).encode(), within=120)
    assert answer.status == 200, answer.body
    return {**json.loads(answer.body), "memory": memory}


def test_guesses_are_made_and_change_no_answer(starters: Path) -> None:
    plain = with_worker(starters, PLAN, copied)
    assert not plain["timings"].get("draft_n")
    for kind in ("ngram-simple", "ngram-mod", "draft"):
        plan = replace(PLAN, knobs=Knobs(threads=2, threads_batch=2, speculative=kind))  # type: ignore[arg-type]
        guessed = with_worker(starters, plan, copied, draft=kind == "draft")
        assert guessed["timings"]["draft_n_accepted"] > 0, kind
        assert guessed["tokens"] == plain["tokens"], kind


def test_a_smaller_kv_cache_takes_less_memory_and_needs_flash_attention(starters: Path) -> None:
    plan = replace(PLAN, context=4096, slots=2)  # 180 MiB of KV cache in f16
    full = with_worker(starters, plan, copied)
    small = with_worker(starters, replace(plan, kv_type="q4_0"), copied)
    assert full["memory"] - small["memory"] > 50 * 2**20
    with pytest.raises(ModelFailed, match="does not start"):
        with_worker(starters, replace(plan, kv_type="q4_0", knobs=Knobs(flash_attention="off")), copied)


def test_polling_sets_how_long_openmp_spins() -> None:
    def spins(poll: int) -> int:
        deployment = Deployment("m", "chat", "llama.cpp", replace(PLAN, knobs=Knobs(poll=poll)), "auto", weights=Path("/m"))
        return int(launch(deployment, Path("/s")).env["GOMP_SPINCOUNT"])

    assert spins(0) == 300
    assert 250_000 < spins(50) < 350_000  # llama.cpp's default is about libgomp's
