"""Estimates beside the truth: what the engine says it allocates, and what the kernel says its process uses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fit import Case, compare
from benchmarks.models import Build, write
from freehold.hardware.estimate import compute_bytes, kv_bytes, output_bytes
from freehold.hardware.facts import facts_of
from freehold.hardware.gguf import read_header
from freehold.hardware.plan import Knobs, KvType
from freehold.hardware.shape import Shape, shape_of
from freehold.store.store import Store
from tests.zoo.build import write as write_zoo
from tests.zoo.shapes import zoo

MIB = 2**20
# Full attention, windows, two kinds of sharing and of latent attention, states, and both together.
KINDS = ("llama-gqa", "gemma2", "gemma3", "gpt-oss", "deepseek2", "mamba2", "lfm2", "jamba", "bert")

# A program that loads a model and prints what the engine logs about its buffers. A thread of the engine writes the log: the
# program stays until it is told that all was heard.
LOAD = """
import os, sys, xllamacpp
path, socket, context, slots, kv = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = path, [socket], 0
params.ui = params.fit_params = params.warmup = False
params.verbosity, params.n_parallel, params.n_ctx, params.n_ubatch = 4, int(slots), int(context) * int(slots), 64
params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + kv.upper())
server = xllamacpp.Server(params)
sys.stdin.read()
os._exit(0)
"""


def shape(weights: Path) -> Shape:
    return shape_of(facts_of(read_header(weights), weights.stat().st_size))


def said(weights: Path, folder: Path, context: int, slots: int, kv_type: KvType = "f16") -> dict[str, float]:
    """MiB of each kind of buffer, as the engine's log has them."""
    argv = [sys.executable, "-c", LOAD, str(weights), str(folder / "e.sock"), str(context), str(slots), kv_type]
    found: dict[str, float] = {}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as engine:
        assert engine.stdout
        for line in engine.stdout:
            if told := re.search(r"(\w+) buffer size = +([\d.]+) MiB", line.decode(errors="replace")):
                found[told[1]] = found.get(told[1], 0) + float(told[2])
            if b"listening on" in line:  # the last that a load says
                return found
    raise AssertionError("the model did not load")


@pytest.mark.parametrize("name", KINDS)
def test_what_blocks_keep_is_what_the_engine_says(name: str, tmp_path: Path) -> None:
    weights = write_zoo(next(shape for shape in zoo() if shape.name == name), tmp_path)
    told = said(weights, tmp_path, 512, 2)
    kept = sum(kv_bytes(layer, 512, 2, "f16", 64) for layer in shape(weights).layers) / MIB
    assert kept == pytest.approx(told.get("KV", 0) + told.get("RS", 0), abs=0.03)
    assert shape(weights).weights / MIB == pytest.approx(told["model"], rel=0.02, abs=0.01)


@pytest.mark.parametrize(("context", "slots", "kv_type"), [(4096, 4, "f16"), (2048, 2, "q8_0")])
def test_buffers_of_a_real_model_are_what_the_engine_says(
    starters: Path, tmp_path: Path, context: int, slots: int, kv_type: KvType
) -> None:
    weights = installed(starters, "smollm2:135m")
    told, known = said(weights, tmp_path, context, slots, kv_type), shape(weights)
    kept = sum(kv_bytes(layer, context, slots, kv_type, 64) for layer in known.layers) / MIB
    assert kept == pytest.approx(told["KV"], abs=0.02)
    assert output_bytes(known, slots, 64) / MIB == pytest.approx(told["output"], abs=0.02)
    assert compute_bytes(known, context, slots, 64, Knobs()) / MIB == pytest.approx(told["compute"], rel=0.15, abs=0.2)


def installed(data: Path, name: str) -> Path:
    store = Store(data)
    file = store.get(name).file("weights")
    assert file is not None
    return store.path(file)


SMALL = Knobs(threads=2, threads_batch=2, ubatch=64)  # short prompts fill its buffers


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's page counts are Linux's")
@pytest.mark.parametrize(
    ("name", "context", "slots", "kv_type"),
    [("smollm2:135m", 2048, 3, "q8_0"), ("all-minilm:22m", 512, 2, "f16")],
)
def test_a_plan_is_within_a_tenth_of_what_a_starter_model_uses(
    starters: Path, name: str, context: int, slots: int, kv_type: KvType
) -> None:
    task = "embedding" if "minilm" in name else "chat"
    found = compare(Case(name, installed(starters, name), context, slots, kv_type, task, SMALL))  # type: ignore[arg-type]
    assert 0.9 <= found.ratio <= 1.1, found


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's page counts are Linux's")
def test_a_decoder_that_embeds_reads_long_texts_in_batches_and_pays_for_no_more(tmp_path: Path) -> None:
    """A row of its vocabulary for every token of a text would be 0.8 GB here."""
    build = Build("vectors", "qwen3", 4, 256, 4, 2, 64, 512, 50_000, tied=True, more={"pooling_type": 3})
    found = compare(Case(build.name, write(build, tmp_path), 4096, 2, task="embedding", knobs=SMALL))
    assert 0.9 <= found.ratio <= 1.1, found
    assert found.used < 250 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's page counts are Linux's")
@pytest.mark.parametrize(
    "build",
    [
        Build("repacked", "qwen3", 8, 512, 8, 8, 64, 1536, 60_000, "Q4_0", tied=True),
        Build("windows", "gemma3", 12, 512, 4, 2, 128, 1024, 40_000, tied=True, window=64),
    ],
    ids=lambda build: build.name,
)
def test_a_plan_is_within_a_tenth_of_what_other_shapes_use(build: Build, tmp_path: Path) -> None:
    found = compare(Case(build.name, write(build, tmp_path), 4096, 2, knobs=SMALL, copied=build.kind == "Q4_0"))
    assert 0.9 <= found.ratio <= 1.1, found
