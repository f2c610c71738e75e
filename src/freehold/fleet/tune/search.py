"""The search: stage by stage, the best so far against everything the stage may change, measured in turns until it is clear.

It knows no engine: what measures is passed in, so that a test can pass a simulated one.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from freehold.errors import FreeholdError
from freehold.fleet.tune.candidates import STEADY, Aspect, Candidate, Stage
from freehold.fleet.tune.judge import Judgement, Noise, Sample, judge

_TO_DROP, _TO_DECIDE = 2, 3  # rounds before a contestant is dropped, and before a contest is decided
_MANY = 3


class Bench(Protocol):
    """What measures. Raises FreeholdError for a candidate that does not run, with the engine's reason."""

    async def measure(self, candidate: Candidate, aspects: Sequence[Aspect]) -> Sample: ...

    async def answers_differ(self, candidate: Candidate, baseline: Candidate) -> bool:
        """Whether greedy answers are not the baseline's."""
        ...


@dataclass(frozen=True)
class Limits:
    """A contest has at most `rounds`. The last quarter of `seconds` is kept for the comparison at the end."""

    seconds: float
    rounds: int

    @property
    def search_seconds(self) -> float:
        return 0.75 * self.seconds


@dataclass(frozen=True)
class Decision:
    """What a stage came to: the best before and after it, by what ratio that is faster in what the stage scores, how much
    faster at least when other programs want every core, and how many rivals ran."""

    stage: str
    before: Candidate
    after: Candidate
    ratio: float
    steadier: float
    rivals: int


@dataclass
class Record:
    """Everything that was measured of a candidate, and what is wrong with it."""

    samples: list[Sample] = field(default_factory=list)
    failure: str = ""
    differs: bool = False

    def median(self, aspect: Aspect) -> float | None:
        found = [sample[aspect] for sample in self.samples if aspect in sample]
        return statistics.median(found) if found else None

    def spread(self, aspect: Aspect) -> tuple[float, float] | None:
        found = [sample[aspect] for sample in self.samples if aspect in sample]
        return (min(found), max(found)) if found else None


@dataclass(frozen=True)
class Outcome:
    """The end of a search. `final` has the medians of the last comparison, of the start and of what the stages came to; `noise`
    is how much two equal measurements differ, as a share; `skipped` are stages that there was no time for."""

    start: Candidate
    chosen: Candidate
    records: Mapping[Candidate, Record]
    decisions: tuple[Decision, ...]
    skipped: tuple[str, ...]
    final: Mapping[Candidate, Mapping[Aspect, float]]
    noise: float


Report = Callable[[str, float], None]  # what is being measured, and the share of the time that is gone


async def search(
    start: Candidate,
    stages: Iterable[Stage],
    everything: Sequence[Aspect],
    bench: Bench,
    limits: Limits,
    *,
    report: Report = lambda what, share: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Runs the stages in turn from `start`, then compares what came out with it in all aspects of `everything`.

    Raises FreeholdError when `start` itself does not run.
    """
    run = _Search(start, bench, limits, report, clock)
    await run.check(start, everything)
    best, decisions, skipped = start, [], []
    for stage in stages:
        rivals = list(stage.rivals(best))
        if not rivals:
            continue
        if run.elapsed() > limits.search_seconds:
            skipped.append(stage.name)
            continue
        decision = await run.decide(stage, best, rivals)
        decisions.append(decision)
        best = decision.after
    return await run.finish(best, everything, decisions, skipped)


class _Search:
    def __init__(self, start: Candidate, bench: Bench, limits: Limits, report: Report, clock: Callable[[], float]):
        self._start, self._bench, self._limits, self._report, self._clock = start, bench, limits, report, clock
        self._began = clock()
        self._noise = Noise()
        self._records: dict[Candidate, Record] = {}

    def elapsed(self) -> float:
        return self._clock() - self._began

    async def check(self, candidate: Candidate, aspects: Sequence[Aspect]) -> None:
        """One measurement that is thrown away: the first warms up, and says whether the candidate runs at all."""
        self._report("how it runs now", 0.0)
        await self._bench.measure(candidate, aspects)

    async def decide(self, stage: Stage, best: Candidate, rivals: Sequence[Candidate]) -> Decision:
        """The winner of a stage's contest."""
        able = [rival for rival in rivals if not stage.same_answers or await self._same_answers(stage, rival)]
        if not able:
            return Decision(stage.name, best, best, 1.0, 1.0, 0)
        rounds = await self._contest(stage, best, able, self._limits.search_seconds)
        judgement = judge(rounds, best, stage, self._noise)
        self._noise.learn(judgement)
        winner = judgement.winner() if len(rounds[best]) >= _TO_DECIDE else best  # cut short: nothing is sure yet
        standing = judgement.standings[winner]
        return Decision(stage.name, best, winner, math.exp(standing.score), math.exp(standing.guarded_gain), len(rounds) - 1)

    async def finish(
        self, best: Candidate, everything: Sequence[Aspect], decisions: Sequence[Decision], skipped: Sequence[str]
    ) -> Outcome:
        """Start against best in all aspects: where the gain does not show once more, the start is as good, and stays."""
        guards: dict[Aspect, float] = {aspect: STEADY for aspect in everything if aspect.startswith("busy")}
        stage = Stage("comparison", lambda now: [best], tuple(everything), guards)
        rivals = [best] if best != self._start else []
        rounds = await self._contest(stage, self._start, rivals, self._limits.seconds, whole=True)
        judgement = judge(rounds, self._start, stage, self._noise)
        return Outcome(
            start=self._start,
            chosen=best if best in rounds and judgement.shows_again(best) else self._start,
            records=self._records,
            decisions=tuple(decisions),
            skipped=tuple(skipped),
            final={candidate: medians(samples) for candidate, samples in rounds.items()},
            noise=math.exp(self._noise.deviation("score")) - 1,
        )

    async def _same_answers(self, stage: Stage, candidate: Candidate) -> bool:
        self._tell(stage, "comparing answers")
        record = self._record(candidate)
        try:
            record.differs = await self._bench.answers_differ(candidate, self._start)
        except FreeholdError as error:
            record.failure = error.message
        return not record.differs and not record.failure

    async def _contest(
        self, stage: Stage, incumbent: Candidate, rivals: Sequence[Candidate], until: float, whole: bool = False
    ) -> Mapping[Candidate, list[Sample]]:
        """Rounds in which all take turns, until it is decided or rounds or time are over; who is clearly beaten leaves early.

        With `whole`, nobody leaves and all rounds are run that there is time for, enough to decide at least.
        """
        rounds: dict[Candidate, list[Sample]] = {incumbent: [], **{rival: [] for rival in rivals}}
        live = list(rounds)
        for done in range(1, self._limits.rounds + 1):
            for candidate in [*live[done % len(live) :], *live[: done % len(live)]]:
                self._tell(stage, f"round {done}")
                if not await self._measured(stage, candidate, incumbent, rounds):
                    live.remove(candidate)
            judgement = judge(rounds, incumbent, stage, self._noise)
            if not whole and done >= _TO_DROP:
                live = [incumbent, *_promising(judgement, [candidate for candidate in live if candidate != incumbent], done)]
            late, settled = self.elapsed() > until, len(live) == 1 or judgement.decided()
            if late and (not whole or done >= _TO_DECIDE):
                break
            if settled and not whole and done >= _TO_DECIDE:
                break
        return {candidate: samples for candidate, samples in rounds.items() if samples}

    async def _measured(
        self, stage: Stage, candidate: Candidate, incumbent: Candidate, rounds: dict[Candidate, list[Sample]]
    ) -> bool:
        """Measures once. A rival that does not run is out, with its reason; the incumbent has run: its error is raised."""
        try:
            sample = await self._bench.measure(candidate, stage.aspects)
        except FreeholdError as error:
            if candidate == incumbent:
                raise
            self._record(candidate).failure = error.message
            rounds[candidate].clear()
            return False
        rounds[candidate].append(sample)
        self._record(candidate).samples.append(sample)
        return True

    def _record(self, candidate: Candidate) -> Record:
        return self._records.setdefault(candidate, Record())

    def _tell(self, stage: Stage, what: str) -> None:
        self._report(f"{stage.name}, {what}", min(1.0, self.elapsed() / self._limits.seconds))


def _promising(judgement: Judgement, rivals: Sequence[Candidate], done: int) -> list[Candidate]:
    """Those that may still win; of many, after the first look, the better half."""
    able = [rival for rival in rivals if not judgement.hopeless(rival)]
    if done == _TO_DROP and len(able) > _MANY:
        able.sort(key=lambda rival: judgement.standings[rival].score, reverse=True)
        able = able[: (len(able) + 1) // 2]
    return able


def medians(samples: Sequence[Sample]) -> Mapping[Aspect, float]:
    return {aspect: statistics.median(sample[aspect] for sample in samples) for aspect in samples[0]}
