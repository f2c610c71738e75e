"""Tuning a model: from an installed model to the way it runs fastest here, measured with nothing else at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from freehold.errors import OperatorError
from freehold.fleet.engines import Deployment
from freehold.fleet.tune.bench import Bench, Scale
from freehold.fleet.tune.candidates import Aspect, Candidate, Field, stages
from freehold.fleet.tune.judge import Sample
from freehold.fleet.tune.search import Limits, Outcome, Report, medians, search
from freehold.fleet.tune.summary import sentence
from freehold.hardware.probe import Machine
from freehold.hardware.tuning import Speed, Tuned, fingerprint
from freehold.routing.catalog import Entry

Effort = Literal["quick", "default", "full"]

_CHAT: tuple[Aspect, ...] = ("prefill", "decode", "together", "busy_prefill", "busy")
_UNDISTURBED: tuple[Aspect, ...] = ("prefill", "decode", "together")
_EMBEDDING: tuple[Aspect, ...] = ("prefill", "together", "busy_prefill")
LIMITS: Mapping[Effort, Limits] = MappingProxyType({"quick": Limits(45, 4), "default": Limits(170, 7), "full": Limits(900, 12)})
_SCALES: Mapping[Effort, Scale] = MappingProxyType(
    {"quick": Scale(0.3, 256, 48), "default": Scale(0.5, 512, 64), "full": Scale(1.5, 2048, 128)}
)
_FAMILY = ("architecture", "block_count", "embedding_length", "vocab_size")
_TURNS = 3


@dataclass(frozen=True)
class Wish:
    """`seconds` bound the search, 0 leaves that to the effort; `lossy` allows what makes answers worse; `threads` is False
    where their number is the user's own."""

    effort: Effort = "default"
    lossy: bool = False
    seconds: float = 0
    threads: bool = True


@dataclass(frozen=True)
class Alternative:
    """Another installed model, as fast as the chosen settings make it, beside the tuned one in the same run of turns."""

    name: str
    quantization: str
    speed: Speed
    tuned: Speed
    memory: int | None


@dataclass(frozen=True)
class Tuning:
    """What came out: the search, the memory of each candidate in bytes, the result to be kept, and other models' speeds."""

    outcome: Outcome
    memory: Mapping[Candidate, int]
    tuned: Tuned
    alternatives: tuple[Alternative, ...] = ()


async def tune(
    entry: Entry,
    others: Sequence[Entry],
    machine: Machine,
    engines: Mapping[str, str],
    wish: Wish,
    *,
    runtime: Path,
    report: Report,
) -> Tuning:
    """Searches how `entry` runs fastest. Its deployment is where the search starts: untuned. `engines` are the versions of the
    builds that may run it; `runtime` is a folder of mode 0700. Raises OperatorError for what cannot be tuned, ModelFailed for a
    model that does not start."""
    if entry.deployment.engine != "llama.cpp" or entry.deployment.weights is None:
        raise OperatorError(f"The model {entry.manifest.name} runs on an engine that has nothing to tune.")
    if entry.deployment.task not in ("chat", "embedding"):
        raise OperatorError(f"The model {entry.manifest.name} neither chats nor embeds; only models that do are tuned.")
    limits = LIMITS[wish.effort]
    limits = replace(limits, seconds=wish.seconds or limits.seconds)
    start = Candidate(entry.deployment.plan.knobs, entry.deployment.plan.kv_type)
    aspects = _EMBEDDING if entry.deployment.task == "embedding" else _CHAT
    make = partial(_bench, runtime=runtime, machine=machine, wish=wish)
    bench = make(entry)
    try:
        sizes = await bench.calibrate(start, machine.memory.available)
        field = _field(entry.deployment, machine, engines, wish, sizes.prompt)
        outcome = await search(start, stages(field), aspects, bench, limits, report=report)
        alternatives = []
        for other in others:
            report(f"{other.manifest.name}, in comparison", 1.0)
            alternatives.append(await _compare(bench, outcome, entry, other, make))
    finally:
        await bench.close()
    return Tuning(outcome, bench.memory, _result(entry, machine, engines, outcome), tuple(alternatives))


def _field(deployment: Deployment, machine: Machine, engines: Mapping[str, str], wish: Wish, prompt: int) -> Field:
    """What is searched; `prompt` is the tokens of one that shows a batch's worth."""
    return Field(
        cores=machine.cpu.usable if wish.threads else 0,
        builds=tuple(engines),
        draft=deployment.draft is not None,
        lossy=wish.lossy,
        embedding=deployment.task == "embedding",
        effort=wish.effort,
        prompt=prompt,
    )


def relatives(entry: Entry, installed: Sequence[Entry]) -> list[Entry]:
    """Other quantisations of the same model: same architecture, blocks and width, about as many parameters, other bytes."""
    return [other for other in installed if _related(entry, other) and weights_of(other) != weights_of(entry)]


def _related(entry: Entry, other: Entry) -> bool:
    mine, theirs = entry.manifest.facts, other.manifest.facts
    if mine is None or theirs is None or other.misfit is not None or entry.deployment.task != other.deployment.task:
        return False
    alike = all(getattr(theirs, name) == getattr(mine, name) for name in _FAMILY)
    return alike and abs(theirs.parameters - mine.parameters) <= mine.parameters // 50


def weights_of(entry: Entry) -> str:
    """What tells a model's weights from all others."""
    file = entry.manifest.file("weights")
    return file.identity if file else ""


async def _compare(bench: Bench, outcome: Outcome, entry: Entry, other: Entry, make: Callable[[Entry], Bench]) -> Alternative:
    """The other model with the chosen settings, in turns with the tuned one."""
    aspects: tuple[Aspect, ...] = ("prefill", "together") if entry.deployment.task == "embedding" else _UNDISTURBED
    mine: list[Sample] = []
    theirs: list[Sample] = []
    chosen = outcome.chosen
    if other.deployment.draft is None and chosen.knobs.speculative == "draft":
        chosen = replace(chosen, knobs=replace(chosen.knobs, speculative="none"))
    second = make(other)
    try:
        await second.calibrate(chosen, 0)
        for _ in range(_TURNS):
            mine.append(await bench.measure(outcome.chosen, aspects))
            theirs.append(await second.measure(chosen, aspects))
    finally:
        await second.close()
    facts = other.manifest.facts
    return Alternative(
        name=other.manifest.name,
        quantization=facts.quantization if facts else "",
        speed=_speed(medians(theirs)),
        tuned=_speed(medians(mine)),
        memory=second.memory.get(chosen),
    )


def _bench(entry: Entry, runtime: Path, machine: Machine, wish: Wish) -> Bench:
    def deploy(name: str, candidate: Candidate) -> Deployment:
        plan = replace(entry.deployment.plan, knobs=candidate.knobs, kv_type=candidate.kv_type)
        return replace(entry.deployment, name=name, plan=plan)

    return Bench(deploy, runtime, machine.cpu.usable, _SCALES[wish.effort], seed=time.time_ns())


def _result(entry: Entry, machine: Machine, engines: Mapping[str, str], outcome: Outcome) -> Tuned:
    return Tuned(
        model=weights_of(entry),
        machine=fingerprint(machine),
        engine=engines[outcome.chosen.knobs.build],
        knobs=outcome.chosen.knobs,
        kv_type=outcome.chosen.kv_type,
        streams=entry.deployment.slots,
        speed=_speed(outcome.final[outcome.chosen]),
        untuned=_speed(outcome.final[outcome.start]),
        measured=int(time.time()),
        why=sentence(outcome),
    )


def _speed(figures: Mapping[Aspect, float]) -> Speed:
    return Speed(**{str(aspect): round(value, 2) for aspect, value in figures.items() if aspect != "repeat"})
