"""What the drawing network can do with a request: draw from words, into a picture's hole, or from a picture."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

from freehold.workers.images.canvas import encoded, hole
from freehold.workers.images.drawing import Drawn, Pace, Tokens, Watch, partial_steps
from freehold.workers.images.request import Asked, parsed
from freehold.workers.pictogram.code import SIDE, Code
from freehold.workers.pictogram.network import SQUARES, Network, Told
from freehold.workers.pictogram.pictures import grounded, lifted, numbers, placed, resized, shown, untouched
from freehold.workers.pictogram.sampler import Course, nothing_said, sampled
from freehold.workers.pictogram.weights import Array
from freehold.workers.pictogram.words import Reader, TooLong
from freehold.workers.serve import Refused

_LEAST, _MOST = 16, 2048  # pixels of an answer's side
_STEPS, _GUIDANCE = 8, 2.0
_STRENGTH = {"edit": 0.8, "variation": 0.6}  # how far from the picture that was sent, 0 to 1

Finish = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Job:
    """`told` is the caption, and what it is guided away from; `finish` makes the answer's picture of the one that is drawn."""

    told: tuple[Told, ...]
    tokens: int
    course: Course
    finish: Finish
    width: int
    height: int

    @property
    def steps(self) -> int:
        return self.course.steps


class Pictograms:
    """An artist of one size. `options` are the model's defaults: "steps", "guidance"."""

    def __init__(self, network: Network, code: Code, reader: Reader, options: Mapping[str, Any], threads: int):
        self._cores = ThreadPoolExecutor(max(1, threads))
        self._network, self._code, self._reader = network, code, reader
        self._usual, self._guidance = int(options.get("steps", _STEPS)), float(options.get("guidance", _GUIDANCE))
        self.native: str | None = f"{SIDE}x{SIDE}"
        self.pace: Pace | None = None

    def trial(self) -> Asked:
        return parsed("generation", {"prompt": "ready", "steps": 1, "seed": 0})

    def job(self, asked: Asked) -> Job:
        _check(asked)
        told, tokens, guidance = self._told(asked)
        size = _size(asked)
        course, finish = self._course(asked, guidance, size)
        return Job(told, tokens, course, finish, *size)

    def draw(self, asked: Asked, job: Job, seeds: Sequence[int], watch: Watch) -> list[Drawn]:
        """Several are drawn side by side, each on one core: so a picture is the same however many others there are."""
        began = time.monotonic()
        ends: list[float] = []
        due = partial_steps(asked.partials, job.steps)

        def after(step: int, foreseen: Array) -> None:
            ends.append(time.monotonic())
            watch.check()
            watch.step(step, job.steps)
            if step in due:
                watch.partial(encoded(self._picture(job, foreseen), asked.form, asked.compression))

        def one(seed: int) -> Drawn:
            watch.check()
            image = self._picture(job, sampled(self._network, job.told, seed, job.course, after))
            return Drawn(encoded(image, asked.form, asked.compression), seed, *image.size)

        drawn = list(self._cores.map(one, seeds))
        if len(seeds) == 1 and not due:
            took = time.monotonic() - began
            each = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else took
            rest = took - each * len(ends)
            self.pace = Pace(SIDE * SIDE, len(ends), each, max(0.0, rest))
        return drawn

    def tokens(self, asked: Asked, job: Job, pictures: int) -> Tokens:
        return Tokens(job.tokens, SQUARES if asked.images else 0, SQUARES * pictures)

    def _told(self, asked: Asked) -> tuple[tuple[Told, ...], int, float]:
        """What the network is told, the tokens of the prompt, and the guidance."""
        if not asked.prompt.strip():
            if asked.kind != "variation":
                raise Refused("The prompt has no words: there is nothing to draw.", param="prompt")
            return (nothing_said(),), 0, 1.0
        guidance = asked.guidance if asked.guidance is not None else self._guidance
        if asked.negative and guidance == 1:
            message = "What shall not be there is only left with a `guidance_scale` above 1; send one, or leave this out."
            raise Refused(message, param="negative_prompt")
        told, tokens = self._read("prompt", asked.prompt)
        away = self._read("negative_prompt", asked.negative)[0] if asked.negative else nothing_said()
        return ((told,) if guidance == 1 else (told, away)), tokens, guidance

    def _read(self, param: str, text: str) -> tuple[Told, int]:
        try:
            return self._reader.read(text)
        except TooLong as error:
            message = f"The {param} is too long for this model; it would not see the end. {error}"
            raise Refused(message, param=param, code="context_length_exceeded") from None

    def _course(self, asked: Asked, guidance: float, size: tuple[int, int]) -> tuple[Course, Finish]:
        steps = asked.steps or self._steps(asked.quality)
        if not asked.images:
            return Course(steps, guidance), lambda drawn: grounded(placed(drawn, size), asked.background)
        image = grounded(asked.images[0], asked.background)
        things, ground = lifted(image)
        picture = self._code.encode(numbers(things))

        def ready(drawn: Image.Image) -> Image.Image:
            return resized(grounded(drawn, asked.background, ground), size)

        if asked.mask is None:
            strength = asked.strength or _STRENGTH[asked.kind]
            return Course(max(1, round(steps * strength)), guidance, 1 - strength, picture), ready
        gap = hole(asked.mask, asked.images[0])
        still, where = resized(image, size), gap.resize(size, Image.Resampling.NEAREST)
        course = Course(steps, guidance, 0.0, picture, untouched(gap))
        return course, lambda drawn: Image.composite(ready(drawn), still, where)

    def _steps(self, quality: str) -> int:
        return {"low": math.ceil(self._usual / 2), "high": self._usual + self._usual // 2}.get(quality, self._usual)

    def _picture(self, job: Job, latents: Array) -> Image.Image:
        return job.finish(shown(self._code.decode(latents)))


def _check(asked: Asked) -> None:
    if asked.background == "transparent" and asked.form == "jpeg":
        raise Refused("JPEG has no transparency; ask for png or webp.", param="output_format")
    if asked.strength is not None and asked.mask is not None:
        raise Refused("A mask's hole is drawn from nothing; leave `strength` out.", param="strength")
    if len(asked.images) > 1:
        raise Refused("This model draws from one picture at a time.", param="image", code="too_many_images")


def _size(asked: Asked) -> tuple[int, int]:
    """Of the answer: as asked for, else that of the picture that was sent, else the model's own. Raises Refused."""
    if asked.size is None:
        return asked.images[0].size if asked.images else (SIDE, SIDE)
    if not all(_LEAST <= side <= _MOST for side in asked.size):
        width, height = (min(_MOST, max(_LEAST, side)) for side in asked.size)
        raise Refused(
            f"Sides are {_LEAST} to {_MOST} pixels: the picture is drawn in {SIDE}x{SIDE} and enlarged. "
            f"The nearest is {width}x{height}.",
            param="size",
        )
    return asked.size
