"""An engine that only pretends, with the habits of a real one: threads that collapse under load, noise, drifts, bad moments."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from freehold.errors import ModelFailed
from freehold.fleet.tune.candidates import Aspect, Candidate
from freehold.fleet.tune.judge import Sample


@dataclass
class Simulated:
    """A bench on `cores` cores.

    `noise` is the deviation of a measurement's logarithm; one in ten is disturbed three times as much; the whole machine slows
    down by half and recovers, in waves. `collapses` is what is left of the speed when threads on all cores wait for each other
    while others want those cores. `cost` is seconds a measurement takes.
    """

    cores: int = 4
    noise: float = 0.05
    collapses: float = 0.15
    guessing: float = 3.0  # what guessing ahead makes of repetitive text
    native: float = 1.0  # the other build
    broken: frozenset[Candidate] = frozenset()
    lying: frozenset[str] = frozenset()  # kinds of speculation whose answers differ
    seed: int = 0
    cost: float = 1.0
    now: float = 0.0
    measured: list[Candidate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def clock(self) -> float:
        return self.now

    async def measure(self, candidate: Candidate, aspects: Sequence[Aspect]) -> Sample:
        self.now += self.cost
        self.measured.append(candidate)
        if candidate in self.broken:
            raise ModelFailed("it does not fit")
        drift = 1 - 0.25 * (1 + math.sin(self.now / 7))
        return {aspect: self.speed(candidate, aspect) * drift * self._disturbed() for aspect in aspects}

    async def answers_differ(self, candidate: Candidate, baseline: Candidate) -> bool:
        return candidate.knobs.speculative in self.lying

    def speed(self, candidate: Candidate, aspect: Aspect) -> float:
        """Tokens a second without noise."""
        knobs = candidate.knobs
        threads = knobs.threads_batch if aspect.endswith("prefill") else knobs.threads
        speed = 100.0 * min(threads, self.cores) ** 0.8 * (self.native if knobs.build == "native" else 1.0)
        if aspect.startswith("busy"):
            speed *= self.collapses if threads >= self.cores else 0.5
        if aspect == "repeat" and knobs.speculative != "none":
            speed *= self.guessing
        if aspect == "decode" and knobs.speculative == "ngram-mod":
            speed *= 0.8
        if knobs.flash_attention == "off":
            speed *= 0.9
        return speed

    def _disturbed(self) -> float:
        wide = 3.0 if self._random.random() < 0.1 else 1.0
        return math.exp(self._random.gauss(0, self.noise * wide))
