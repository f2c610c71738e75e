"""Candidates as real workers under measurement."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import FreeholdError, ModelFailed
from freehold.fleet.engines import Deployment
from freehold.fleet.supervisor import Supervisor
from freehold.fleet.tune.candidates import Aspect, Candidate
from freehold.fleet.tune.judge import Sample
from freehold.fleet.tune.load import competing
from freehold.fleet.tune.probes import Answer, Probe, Sizes
from freehold.fleet.tune.texts import Writer
from freehold.settings import TimeoutSettings

_FIRST = Sizes(prompt=64, answer=8, together=8, busy=8)
_COMPARED = 32  # tokens of the greedy answers that are compared
_MOST_LOADED = 8
_BUSY_PROMPT = 32  # tokens: with every core taken, some candidates read a few a second


@dataclass(frozen=True)
class Scale:
    """How many seconds a timed request shall take, and how many tokens its prompt and its answer may have at most."""

    seconds: float
    prompt: int
    answer: int


class Bench:
    """Starts a worker for each candidate, and keeps as many loaded as there is room for, so that they can take turns.

    `deploy` turns a name and a candidate into a deployment; sockets live in `runtime`, a folder of mode 0700; a competing load
    takes `cores` processes. `memory` is the resident bytes of a candidate's worker. Must be closed.
    """

    def __init__(self, deploy: Callable[[str, Candidate], Deployment], runtime: Path, cores: int, scale: Scale, seed: int):
        self._deploy, self._cores, self._scale = deploy, cores, scale
        # Patient: a candidate that crawls while every core is taken is measured, not replaced.
        self._supervisor = Supervisor(runtime, TimeoutSettings(hang=120))
        self._writer = Writer(seed)
        self._numbers = itertools.count(1)
        self._live: dict[Candidate, tuple[Deployment, Probe]] = {}
        self._answers: dict[Candidate, tuple[Answer, ...]] = {}
        self._compared = (self._writer.prose(40), self._writer.copying(30))
        self._sizes = _FIRST
        self._room = 1
        self.memory: dict[Candidate, int] = {}

    async def close(self) -> None:
        await self._supervisor.close()

    async def calibrate(self, candidate: Candidate, available: int) -> Sizes:
        """Fits prompts and answers to how fast a first worker is, and the number of loaded workers to its memory and the
        `available` bytes; returns the sizes. Raises what a candidate raises that does not run."""
        deployment, probe = await self._loaded(candidate)
        for _ in range(2):  # the first warms up
            if deployment.task == "embedding":
                reading = writing = await probe.embed(1, _FIRST.prompt)
            else:
                reading, writing = await probe.alone(_FIRST.prompt, _FIRST.answer)
        prompt = _within(32, reading * self._scale.seconds, min(self._scale.prompt, deployment.context // 2))
        answer = _within(8, writing * self._scale.seconds, min(self._scale.answer, deployment.context // 4))
        self._sizes = Sizes(prompt, answer, max(8, answer // 2), max(8, answer // 2))
        self._note_memory(candidate, deployment)
        if deployment.plan.gpu_layers == 0 and self.memory.get(candidate):
            self._room = _within(1, available / 2 / self.memory[candidate], _MOST_LOADED)
        await self._unload(candidate)  # the next one has probes of the new sizes
        return self._sizes

    async def measure(self, candidate: Candidate, aspects: Sequence[Aspect]) -> Sample:
        """Tokens a second for each aspect. Raises ModelFailed when the candidate does not load, or EngineError."""
        deployment, probe = await self._loaded(candidate)
        sample = await (_embedding if deployment.task == "embedding" else _chat)(probe, aspects, deployment.slots, self._sizes)
        if any(aspect.startswith("busy") for aspect in aspects):
            with competing(self._cores):
                sample |= await self._busy(deployment, probe)
        self._note_memory(candidate, deployment)
        return {aspect: sample[aspect] for aspect in aspects}

    async def answers_differ(self, candidate: Candidate, baseline: Candidate) -> bool:
        if baseline not in self._answers:
            self._answers[baseline] = await self._greedy(baseline, leads=True)
        pairs = zip(await self._greedy(candidate), self._answers[baseline], strict=True)
        return any(mine.differs_from(theirs) for mine, theirs in pairs)

    async def _greedy(self, candidate: Candidate, leads: bool = False) -> tuple[Answer, ...]:
        _, probe = await self._loaded(candidate)
        return tuple([await probe.greedy(prompt, _COMPARED, leads) for prompt in self._compared])

    async def _busy(self, deployment: Deployment, probe: Probe) -> dict[Aspect, float]:
        if deployment.task == "embedding":
            return {"busy_prefill": await probe.embed(1, _BUSY_PROMPT)}
        reading, writing = await probe.alone(_BUSY_PROMPT, self._sizes.busy)
        return {"busy_prefill": reading, "busy": writing}

    async def _loaded(self, candidate: Candidate) -> tuple[Deployment, Probe]:
        """The candidate's worker, loaded and warm; the one that was used longest ago makes room."""
        if candidate in self._live:
            self._live[candidate] = self._live.pop(candidate)  # now the last to go
            return self._live[candidate]
        while len(self._live) >= self._room:
            await self._unload(next(iter(self._live)))
        deployment = self._deploy(f"candidate {next(self._numbers)}", candidate)
        try:
            client = await self._supervisor.ensure_ready(deployment)
            if self._supervisor.effective(deployment.name) != deployment.plan:
                raise ModelFailed("It does not fit in memory as planned.")
            probe = Probe(client, self._sizes, self._writer)
            await (probe.embed(1, 16) if deployment.task == "embedding" else probe.alone(32, 4))
        except FreeholdError:
            await self._supervisor.stop(deployment.name)
            raise
        self._live[candidate] = deployment, probe
        return deployment, probe

    async def _unload(self, candidate: Candidate) -> None:
        deployment, _ = self._live.pop(candidate)
        await self._supervisor.stop(deployment.name)

    def _note_memory(self, candidate: Candidate, deployment: Deployment) -> None:
        for status in self._supervisor.status():
            if status.model == deployment.name and status.rss_bytes:
                self.memory[candidate] = status.rss_bytes


async def _chat(probe: Probe, aspects: Sequence[Aspect], streams: int, sizes: Sizes) -> dict[Aspect, float]:
    sample: dict[Aspect, float] = {}
    if {"prefill", "decode"} & set(aspects):
        prompt = sizes.prompt if "prefill" in aspects else min(32, sizes.prompt)
        sample["prefill"], sample["decode"] = await probe.alone(prompt, sizes.answer if "decode" in aspects else 1)
    if "together" in aspects:
        sample["together"] = await probe.together(streams)
    if "repeat" in aspects:
        sample["repeat"] = await probe.repeating()
    return sample


async def _embedding(probe: Probe, aspects: Sequence[Aspect], streams: int, sizes: Sizes) -> dict[Aspect, float]:
    sample: dict[Aspect, float] = {}
    if "prefill" in aspects:
        sample["prefill"] = await probe.embed(1, sizes.prompt // 2)
    if "together" in aspects:
        sample["together"] = await probe.embed(streams, sizes.prompt // 4)
    return sample


def _within(least: int, value: float, most: int) -> int:
    return max(least, min(most, int(value)))
