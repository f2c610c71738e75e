"""From noise to latents, step by step, along the straight way to what the network foresees (flow matching, Euler's method)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from freehold.workers.pictogram.network import NUMBERS, SQUARES, WORDS, Network, Told
from freehold.workers.pictogram.weights import Array

_EARLY = 1.5  # steps are closer together where there is more noise: what is drawn is decided there


@dataclass(frozen=True)
class Course:
    """`steps` from the time `start`, 0 for noise alone; `guidance` is how strictly the caption is followed.

    `picture` [64, 64] are the latents to start from when `start` is not 0; and where `kept` [64] is true, those to end at.
    """

    steps: int
    guidance: float
    start: float = 0.0
    picture: Array | None = None
    kept: Array | None = None


def nothing_said() -> Told:
    """No caption."""
    return Told(*(np.zeros(shape, np.float32) for shape in ((1, 384), (1, WORDS, 384), (1, WORDS))))


def sampled(network: Network, told: Sequence[Told], seed: int, course: Course, after: Callable[[int, Array], None]) -> Array:
    """Latents [64, 64]. `told` is the caption, and what it is guided away from where there is guidance.

    `after` is told the number of each finished step and the latents foreseen there; what it raises ends the drawing.
    """
    noise = np.random.default_rng(seed).standard_normal((1, SQUARES, NUMBERS), np.float32)
    heard = network.hear(
        Told(*(np.concatenate([getattr(each, name) for each in told]) for name in ("sentence", "words", "given")))
    )
    still = course.picture[None] if course.picture is not None else np.zeros_like(noise)
    x = course.start * still + (1 - course.start) * noise
    times = course.start + (1 - course.start) * np.linspace(0, 1, course.steps + 1, dtype=np.float32) ** _EARLY
    for step, (now, then) in enumerate(itertools.pairwise(times), 1):
        foreseen = network.foresee(np.concatenate([x] * len(told)), float(now), heard)
        if len(told) > 1:
            foreseen = foreseen[1:] + course.guidance * (foreseen[:1] - foreseen[1:])
        if course.kept is not None:
            foreseen = np.where(course.kept[:, None], still, foreseen)
        x = x + (foreseen - x) * ((then - now) / (1 - now))
        after(step, foreseen[0])
    found: Array = x[0]
    return found
