"""Drawing: a request becomes pictures, one after another, with a look at each step whether anybody still wants them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from freehold.workers.images.canvas import encoded, picture
from freehold.workers.images.jobs import Job
from freehold.workers.images.pipeline import Pipeline, decode, parameters
from freehold.workers.images.request import Asked
from freehold.workers.serve import Refused

_LARGEST_SEED = 2**31 - 1


class Cancelled(Exception):
    """Nobody wants the picture any more."""


@dataclass(frozen=True)
class Drawn:
    """A finished picture, in the format that was asked for."""

    data: bytes
    seed: int
    width: int
    height: int


@dataclass(frozen=True)
class Pace:
    """What the last picture took: `steps` of `step_seconds` each for `pixels`, and `rest_seconds` beside them."""

    pixels: int
    steps: int
    step_seconds: float
    rest_seconds: float


@dataclass
class Watch:
    """What a drawing tells: each step, and pictures in the making. Methods run in the drawing's thread."""

    step: Callable[[int, int], None] = lambda done, total: None
    partial: Callable[[bytes], None] = lambda data: None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Painter:
    """One model, one picture at a time."""

    def __init__(self, model: Pipeline):
        self._model = model
        self.pace: Pace | None = None

    def draw(self, asked: Asked, job: Job, seed: int, watch: Watch) -> Drawn:
        """One picture. Raises Cancelled, and Refused where the model draws nothing."""
        began = time.monotonic()
        ends: list[float] = []
        shown = 0
        due = _partial_steps(asked.partials, job.steps)

        def after_step(pipeline: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            nonlocal shown
            ends.append(time.monotonic())
            if watch.cancelled.is_set():
                raise Cancelled
            watch.step(len(ends), job.steps)
            if len(ends) in due:
                pixels = decode(pipeline, kwargs["latents"], job.width, job.height)
                watch.partial(encoded(job.finish(_shown(pixels)), asked.form, asked.compression))
                shown += 1
            return {}

        if watch.cancelled.is_set():
            raise Cancelled
        self._model.prepare(job.pipeline, job.width, job.height)
        generator = torch.Generator("cpu").manual_seed(seed)
        steps = {"callback_on_step_end": after_step} if "callback_on_step_end" in parameters(job.pipeline) else {}
        out = job.pipeline(**job.call, **steps, generator=generator, output_type="np")
        flagged = getattr(out, "nsfw_content_detected", None)
        if flagged and any(flagged):
            raise Refused("The model's own safety checker rejects this picture.", code="moderation_blocked")
        image = job.finish(picture(out.images[0]))
        self._note(job, began, ends, shown)
        return Drawn(encoded(image, asked.form, asked.compression), seed, image.width, image.height)

    def _note(self, job: Job, began: float, ends: list[float], shown: int) -> None:
        """The pace of a picture that was drawn without a pause for others in the making."""
        if len(ends) < 2 or shown:
            return
        each = (ends[-1] - ends[0]) / (len(ends) - 1)
        rest = time.monotonic() - began - each * len(ends)
        self.pace = Pace(job.width * job.height, len(ends), each, max(0.0, rest))


def seeds(asked: Asked) -> list[int]:
    """A seed for each picture, in a row from the first; that one is random unless it was asked for."""
    first = asked.seed if asked.seed is not None else secrets.randbelow(_LARGEST_SEED - asked.n)
    return [(first + each) % 2**63 for each in range(asked.n)]


def _partial_steps(count: int, steps: int) -> set[int]:
    """After which steps pictures in the making are shown, evenly spread; none after the last."""
    return {round(steps * (each + 1) / (count + 1)) for each in range(count)} - {0, steps}


def _shown(pixels: Any) -> Image.Image:
    """A picture in the making, whatever its numbers are yet."""
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype("uint8"))
