"""The real engine is refused memory at its load, and loaded with less."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from freehold.fleet.engines import Deployment
from freehold.fleet.supervisor import Supervisor
from freehold.hardware.plan import Plan
from freehold.settings import TimeoutSettings, WorkerSettings
from freehold.store.store import Store


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA bounds mapped memory on Linux alone")
async def test_an_engine_that_runs_out_of_memory_at_its_load_is_loaded_with_half_the_slots(
    starters: Path, tmp_path: Path
) -> None:
    store = Store(starters)
    weights = store.serving(store.get("smollm2:135m"), "weights")
    plan = Plan(context=8192, slots=8)  # 1.5 GB of KV cache, and half of it
    deployment = Deployment("m", "chat", "llama.cpp", plan, sandbox="auto", weights=weights)
    fleet = Supervisor(tmp_path, TimeoutSettings(), WorkerSettings(memory_limit_mib=1400))
    try:
        client = await fleet.ensure_ready(deployment)
        (status,) = fleet.status()
        assert (status.reduced, status.slots, status.restarts) == ("4 instead of 8 requests at a time", 4, 1)
        answer = await client.post("/v1/completions", b'{"prompt":"hello","max_tokens":1}', within=60)
        assert answer.status == 200
    finally:
        await fleet.close()
