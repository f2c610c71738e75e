"""Who wins a contest of noisy measurements: pure functions of numbers.

All is judged in ratios to the incumbent *of the same round*: contestants take turns, so what disturbs the machine for a while
disturbs them all. A difference counts only beyond the noise that was seen, which is estimated from how much a contestant's
ratios change from one round to the next (the median of those changes: a single bad round does not move it).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from freehold.fleet.tune.candidates import Aspect, Candidate, Stage

Sample = Mapping[Aspect, float]

FLOOR = math.log(1.03)  # less than this is not worth a change, however sure it is
_SURE = 2.5  # standard errors: of a hundred rivals that are equal, less than one is taken for better
_MANY_ROUNDS = 6  # of two that are equal, one wins all of so many in one of 64 cases, and the last comparison must agree
_WORTH = math.log(1.08)  # what may be gained at most by measuring on, for that to be worth its time
_WEIGHTS: Mapping[Aspect, float] = {"prefill": 1.0, "decode": 2.0, "together": 1.0, "repeat": 1.0}
_TO_DEVIATION = 1.4826  # of the median of absolute values, for a normal distribution
_OF_MEDIAN = 1.2533  # the standard error of a median, in those of a mean


@dataclass
class Noise:
    """How much equal measurements differ, learnt over a whole search: changes of logarithms from round to round, by what was
    measured ("score", or a guard)."""

    changes: dict[str, list[float]] = field(default_factory=dict)

    def learn(self, judgement: Judgement) -> None:
        for candidate, standing in judgement.standings.items():
            if candidate != judgement.incumbent:
                self.changes.setdefault("score", []).extend(_changes(standing.scores))
                for aspect, series in standing.guards.items():
                    self.changes.setdefault(aspect, []).extend(_changes(series))

    def deviation(self, what: str) -> float:
        return _deviation(self.changes.get(what, []))


@dataclass(frozen=True)
class Standing:
    """A contestant against the incumbent, round by round, in logarithms of ratios. A margin is what a median must exceed to
    count."""

    scores: tuple[float, ...]
    margin: float
    guards: Mapping[Aspect, tuple[float, ...]]
    guard_margins: Mapping[Aspect, float]

    @property
    def score(self) -> float:
        return statistics.median(self.scores)

    @property
    def faster(self) -> bool:
        """Whether it is surely faster: beyond the margin, or, however wide that is, in every one of many rounds."""
        always = len(self.scores) >= _MANY_ROUNDS and min(self.scores) > 0 and self.score > FLOOR
        return always or self.score > self.margin

    def guard(self, aspect: Aspect) -> float:
        return statistics.median(self.guards[aspect])

    @property
    def guarded_gain(self) -> float:
        """By how much it is surely better than the incumbent in all its guards; 0 where it is not."""
        return max(0.0, min((self.guard(aspect) - self.guard_margins[aspect] for aspect in self.guards), default=0.0))


@dataclass(frozen=True)
class Judgement:
    """A stage's contest as it stands."""

    stage: Stage
    incumbent: Candidate
    standings: Mapping[Candidate, Standing]

    def winner(self) -> Candidate:
        """The fastest of those that hold their guards, if it is surely faster than the incumbent; among equals one that is
        surely better by its guards; else the incumbent, unless it does not hold its own guards."""
        steady = [candidate for candidate in self.standings if not self.unsteady(candidate)]
        if self.incumbent not in steady:
            return max(steady, key=self._score)
        faster = [candidate for candidate in steady if self.standings[candidate].faster]
        if faster:
            return max(faster, key=self._score)
        safer = [c for c in steady if self._score(c) > -FLOOR and self.standings[c].guarded_gain > 0]
        return max(safer, key=lambda candidate: self.standings[candidate].guarded_gain, default=self.incumbent)

    def shows_again(self, candidate: Candidate) -> bool:
        """Whether one that has already won is better once more, by more than a standard error: faster, or so good in a guard
        that the incumbent has less than its share of it; and its own guards hold. That it won is half of the proof."""
        own, shares = self.standings[candidate], self.stage.guards.items()
        faster = own.score > max(FLOOR, own.margin / _SURE)
        better = faster or any(own.guard(a) - own.guard_margins[a] / _SURE > -math.log(share) for a, share in shares)
        return better and all(own.guard(aspect) > math.log(share) for aspect, share in shares)

    def unsteady(self, candidate: Candidate) -> bool:
        """Whether it surely has less than its share of the best in a guard."""
        own = self.standings[candidate]
        for aspect, share in self.stage.guards.items():
            best = max(other.guard(aspect) - other.guard_margins[aspect] for other in self.standings.values())
            if own.guard(aspect) + own.guard_margins[aspect] < best + math.log(share):
                return True
        return False

    def hopeless(self, candidate: Candidate) -> bool:
        """Whether more rounds would hardly make it the winner: unsteady, or surely slower than one that is not."""
        own = self.standings[candidate]
        others = [other for other in self.standings if other != candidate and not self.unsteady(other)]
        slower = any(own.score + own.margin < self._score(other) for other in others)
        return self.unsteady(candidate) or (slower and own.guarded_gain == 0)

    def decided(self) -> bool:
        """Whether more rounds would hardly change who wins: everybody else is clearly behind, or cannot be much better."""
        first = self.winner()
        lead = self.standings[first]
        return all(
            self.unsteady(candidate)
            or lead.score - other.score > max(lead.margin, other.margin)
            or other.score + other.margin < lead.score + _WORTH
            for candidate, other in self.standings.items()
            if candidate != first
        )

    def _score(self, candidate: Candidate) -> float:
        return self.standings[candidate].score


def judge(
    rounds: Mapping[Candidate, Sequence[Sample]], incumbent: Candidate, stage: Stage, noise: Noise | None = None
) -> Judgement:
    """How each contestant stands after its rounds, which are in the same order for all; the incumbent has had every round."""
    base, noise = rounds[incumbent], noise or Noise()
    return Judgement(stage, incumbent, {c: _standing(s, base, stage, noise) for c, s in rounds.items() if s})


def score(sample: Sample, against: Sample, stage: Stage) -> float:
    """The weighted mean of the logarithms of the ratios of what counts in this stage."""
    counted = [aspect for aspect in stage.aspects if aspect not in stage.guards]
    total = sum(_WEIGHTS[aspect] for aspect in counted)
    return sum(_WEIGHTS[aspect] * math.log(sample[aspect] / against[aspect]) for aspect in counted) / total


def _standing(samples: Sequence[Sample], base: Sequence[Sample], stage: Stage, noise: Noise) -> Standing:
    pairs = list(zip(samples, base, strict=False))
    scores = tuple(score(mine, theirs, stage) for mine, theirs in pairs)
    guards = {aspect: tuple(math.log(mine[aspect] / theirs[aspect]) for mine, theirs in pairs) for aspect in stage.guards}
    margins = {aspect: _margin(series, noise.deviation(aspect)) for aspect, series in guards.items()}
    return Standing(scores, _margin(scores, noise.deviation("score")), guards, margins)


def _margin(series: Sequence[float], known: float) -> float:
    """The larger of what this contestant and what the whole search showed as noise decides."""
    deviation = max(_deviation(_changes(series)), known)
    return max(FLOOR, _SURE * _OF_MEDIAN * deviation / math.sqrt(len(series)))


def _changes(series: Sequence[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(series)]


def _deviation(changes: Iterable[float]) -> float:
    sizes = [abs(change) for change in changes]
    return _TO_DEVIATION * statistics.median(sizes) / math.sqrt(2) if sizes else 0.0
