"""Embeddings are the same however a text is cut into batches, where it may be cut at all."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.memory import call, worker
from freehold.fleet.engines import Deployment
from freehold.hardware.facts import facts_of
from freehold.hardware.fit import Budget, Device, Plan, Want, plan, shape_of
from freehold.hardware.gguf import read_header
from freehold.hardware.plan import HOST, Knobs
from tests.zoo.build import write
from tests.zoo.shapes import zoo

ROOM = Budget((Device(HOST, "cpu", 2**40, 2**40),), 2)


def planned(weights: Path) -> Plan:
    shape = shape_of(facts_of(read_header(weights), weights.stat().st_size))
    found = plan(shape, ROOM, Want(slots=2, knobs=Knobs(threads=2, threads_batch=2, ubatch=64)))
    assert isinstance(found, Plan)
    return found


def embedded(weights: Path, plan: Plan, folder: Path) -> list[list[float]]:
    texts = ["hello " * 450, "one two three " * 30, "short"]
    deployment = Deployment("m", "embedding", "llama.cpp", plan, "auto", weights)
    with worker(deployment, folder / f"{plan.splits}.sock") as (_, address):
        status, body = call(address, "POST", "/v1/embeddings", {"input": texts}, 60.0)
    assert status == 200, body
    answer = json.loads(body)
    assert answer["usage"]["prompt_tokens"] > 700  # far more than a batch
    return [item["embedding"] for item in answer["data"]]


def test_a_text_read_in_batches_has_the_vector_of_one_read_at_once(tmp_path: Path) -> None:
    weights = write(next(shape for shape in zoo() if shape.name == "qwen3-embedding"), tmp_path)
    split = planned(weights)
    assert split.splits
    whole = Plan(context=512, slots=2, knobs=split.knobs)
    for mine, theirs in zip(embedded(weights, split, tmp_path), embedded(weights, whole, tmp_path), strict=True):
        assert sum(a * b for a, b in zip(mine, theirs, strict=True)) > 0.9999


def test_a_model_that_looks_at_all_tokens_is_never_cut(tmp_path: Path) -> None:
    for name in ("bert", "llama-gqa"):
        assert not planned(write(next(shape for shape in zoo() if shape.name == name), tmp_path)).splits
