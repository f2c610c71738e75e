"""Drawing: a request becomes pictures, one after another, with a look at each step whether anybody still wants them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from freehold.workers.images.canvas import encoded, picture
from freehold.workers.images.drawing import Drawn, Pace, Tokens, Watch, partial_steps
from freehold.workers.images.jobs import Desk, Job
from freehold.workers.images.pipeline import Pipeline, decode, parameters
from freehold.workers.images.request import Asked, Kind, parsed
from freehold.workers.serve import Refused


class Painter:
    """One model, one picture at a time."""

    def __init__(self, model: Pipeline):
        self._model, self._desk = model, Desk(model)
        self.native: str | None = None
        self.pace: Pace | None = None

    def trial(self) -> Asked:
        side = self._model.grid.near(1, 1)[0]
        kind: Kind = "generation" if self._model.for_use("words") is not None else "edit"
        table = {"prompt": "ready", "size": f"{side}x{side}", "steps": 2, "seed": 0}
        return parsed(kind, table, () if kind == "generation" else (Image.new("RGB", (side, side), "gray"),))

    def job(self, asked: Asked) -> Job:
        return self._desk.job(asked)

    def draw(self, asked: Asked, job: Job, seeds: Sequence[int], watch: Watch) -> list[Drawn]:
        return [self._draw(asked, job, seed, watch) for seed in seeds]

    def tokens(self, asked: Asked, job: Job, pictures: int) -> Tokens:
        each = self._model.picture_tokens(job.width, job.height)
        return Tokens(self._model.prompt_tokens(asked.prompt)[0], each if asked.images else 0, each * pictures)

    def _draw(self, asked: Asked, job: Job, seed: int, watch: Watch) -> Drawn:
        """One picture. Raises Cancelled, and Refused where the model draws nothing."""
        began = time.monotonic()
        ends: list[float] = []
        shown = 0
        due = partial_steps(asked.partials, job.steps)

        def after_step(pipeline: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            nonlocal shown
            ends.append(time.monotonic())
            watch.check()
            watch.step(len(ends), job.steps)
            if len(ends) in due:
                pixels = decode(pipeline, kwargs["latents"], job.width, job.height)
                watch.partial(encoded(job.finish(_shown(pixels)), asked.form, asked.compression))
                shown += 1
            return {}

        watch.check()
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


def _shown(pixels: Any) -> Image.Image:
    """A picture in the making, whatever its numbers are yet."""
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype("uint8"))
