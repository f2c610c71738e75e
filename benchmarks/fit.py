"""Whether plans tell the truth: the planned memory of real workers beside what the kernel says they use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.memory import measure
from benchmarks.models import Build, write
from benchmarks.report import Report, median
from freehold.hardware.facts import facts_of
from freehold.hardware.fit import Budget, Device, Misfit, Want, plan, shape_of
from freehold.hardware.gguf import read_header
from freehold.hardware.plan import HOST, Knobs, KvType
from freehold.store.store import Store

MIB = 2**20
_KNOBS = Knobs(threads=2, threads_batch=2)
_ROOMY = Budget((Device(HOST, "cpu", 2**50, 2**50),), 2)
_BUILDS = (
    Build("llama, Q8_0, large vocabulary", "llama", 8, 1024, 16, 4, 64, 4096, 128_256),
    Build("llama, F16", "llama", 10, 768, 12, 12, 64, 2048, 32_000, "F16"),
    Build("qwen3, Q4_0 (repacked), tied", "qwen3", 12, 1024, 16, 8, 128, 3072, 151_936, "Q4_0", tied=True),
    Build("gemma3, Q8_0, windows of 512", "gemma3", 12, 640, 4, 1, 256, 2048, 100_000, tied=True, window=512),
    Build("qwen3 that embeds, Q8_0", "qwen3", 6, 512, 8, 4, 64, 1536, 50_000, tied=True, more={"pooling_type": 3}),
    Build("qwen3moe, Q8_0, 32 experts", "qwen3moe", 6, 768, 12, 4, 64, 2048, 50_000, experts=(32, 384)),
)


@dataclass(frozen=True)
class Case:
    """A model's file, and how it is run.

    Of a `copied` one the engine repacks all weights: no page of the file is read again, though the kernel may say so of some.
    """

    name: str
    weights: Path
    context: int
    slots: int
    kv_type: KvType = "f16"
    task: Literal["chat", "embedding"] = "chat"
    knobs: Knobs = _KNOBS
    copied: bool = False


@dataclass(frozen=True)
class Compared:
    """Bytes: what the plan says, what was used, and the system's RSS."""

    planned: int
    used: int
    resident: int

    @property
    def ratio(self) -> float:
        return self.planned / self.used


def compare(case: Case) -> Compared:
    """Plans the case, runs it, and measures. Raises RuntimeError when the worker does not start or answer."""
    shape = shape_of(facts_of(read_header(case.weights), case.weights.stat().st_size))
    planned = plan(shape, _ROOMY, Want(case.context, case.slots, case.kv_type, knobs=case.knobs))
    if isinstance(planned, Misfit):
        raise RuntimeError(planned.reason)
    found = measure(case.weights, planned, shape, case.task)
    used = found.own + found.programs if case.copied else found.used
    return Compared(planned.on(HOST), used, found.resident)


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """The starter models where they are installed, and models that are written for it (1.3 GB in a temporary folder)."""
    report = Report("Planned memory beside measured memory (planned / used; used is without copies that nobody reads)")
    with tempfile.TemporaryDirectory(prefix="fh-fit-models-") as folder:
        cases = [*starters(data_dir), *_written(Path(folder))]
        done = {case: compare(case) for case in (cases[:3] if quick else cases)}
    for case, found in done.items():
        label = f"{case.name}: {case.context} tokens × {case.slots}, {case.kv_type}"
        note = f"planned {found.planned / MIB:.0f} MiB, used {found.used / MIB:.0f}, RSS {found.resident / MIB:.0f}"
        report.add(label, found.ratio, "", goal="0.9 to 1.1", note=note)
        report.samples[label] = vars(found)
    report.add("median", median([found.ratio for found in done.values()]), "")
    return report


def starters(data_dir: Path | None) -> Iterator[Case]:
    """The starter models that are installed, with several contexts, slots and types of cache."""
    import platformdirs

    store = Store(data_dir or Path(platformdirs.user_data_dir("freehold")))
    if store.has("smollm2:135m"):
        weights = _weights(store, "smollm2:135m")
        wishes: tuple[tuple[int, int, KvType], ...] = ((2048, 4, "f16"), (2048, 4, "q8_0"), (8192, 2, "f16"), (512, 1, "f16"))
        for context, slots, kv_type in wishes:
            yield Case("smollm2:135m", weights, context, slots, kv_type)
    if store.has("all-minilm:22m"):
        for slots in (1, 8):
            yield Case("all-minilm:22m", _weights(store, "all-minilm:22m"), 512, slots, task="embedding")


def _weights(store: Store, name: str) -> Path:
    file = store.get(name).file("weights")
    if file is None:
        raise RuntimeError(f"{name} has no weights")
    return store.path(file)


def _written(folder: Path) -> Iterator[Case]:
    large, half, repacked, windows, vectors, experts = (write(build, folder) for build in _BUILDS)
    names = [build.name for build in _BUILDS]
    yield Case(names[0], large, 2048, 2)
    yield Case(names[1], half, 4096, 2, "q8_0")
    yield Case(f"{names[1]}, no flash attention", half, 512, 2, knobs=Knobs(2, 2, flash_attention="off"))
    yield Case(names[2], repacked, 2048, 2, copied=True)
    yield Case(names[3], windows, 8192, 2)
    yield Case(names[4], vectors, 4096, 2, task="embedding")
    yield Case(names[5], experts, 4096, 4)
