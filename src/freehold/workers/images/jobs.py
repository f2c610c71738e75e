"""A request, resolved against the model: which pipeline draws it, with what, and what becomes of its picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from freehold.workers.images.canvas import flat, hole
from freehold.workers.images.pipeline import Pipeline, Use, parameters
from freehold.workers.images.request import Asked
from freehold.workers.serve import Refused

_STRENGTH = {"edit": 0.8, "variation": 0.6}  # how far from the picture that was sent, 0 to 1

Finish = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Job:
    """`call` are the pipeline's arguments, `steps` those it will run, `finish` makes the answer of what it draws."""

    pipeline: Any
    call: dict[str, Any]
    width: int
    height: int
    steps: int
    finish: Finish


class Desk:
    """Makes jobs for one model."""

    def __init__(self, model: Pipeline):
        self._model = model

    def job(self, asked: Asked) -> Job:
        """Raises Refused for what this model cannot do."""
        self._check_prompt(asked)
        if asked.background == "transparent":
            raise Refused("This model draws no transparent background; leave it out.", param="background")
        if asked.kind == "generation":
            return self._from_words(asked)
        if len(asked.images) > 1:
            raise Refused("This engine draws from one picture at a time.", param="image", code="too_many_images")
        return self._into(asked, asked.mask) if asked.mask is not None else self._from_picture(asked)

    def _from_words(self, asked: Asked) -> Job:
        pipeline = self._for_use("words", "This model only changes pictures: send it one (/v1/images/edits).")
        side = self._model.grid.side
        width, height = self._model.grid.check(*asked.size) if asked.size else (side, side)
        return self._job(asked, pipeline, {}, (width, height), lambda drawn: drawn)

    def _from_picture(self, asked: Asked) -> Job:
        pipeline = self._for_use("picture", "This model only draws from words (/v1/images/generations).")
        image = flat(asked.images[0])
        width, height, out = self._sizes(asked, image)
        given = {"image": resized(image, (width, height))}
        return self._job(asked, pipeline, given, (width, height), lambda drawn: resized(drawn, out))

    def _into(self, asked: Asked, mask: Image.Image) -> Job:
        """Outside of the mask's hole the answer is the picture that was sent, to the pixel."""
        pipeline = self._for_use("hole", "This model cannot draw into a part of a picture; leave the mask out.")
        image = flat(asked.images[0])
        gap = hole(mask, asked.images[0])
        width, height, out = self._sizes(asked, image)
        kept, where = resized(image, out), gap.resize(out, Image.Resampling.NEAREST)
        given = {
            "image": resized(image, (width, height)),
            "mask_image": gap.resize((width, height), Image.Resampling.NEAREST),
        }

        def finish(drawn: Image.Image) -> Image.Image:
            return Image.composite(resized(drawn, out), kept, where)

        return self._job(asked, pipeline, given, (width, height), finish)

    def _sizes(self, asked: Asked, image: Image.Image) -> tuple[int, int, tuple[int, int]]:
        """(width, height) to draw in, and the size of the answer: the one asked for, else that of the picture."""
        if asked.size:
            return (*self._model.grid.check(*asked.size), asked.size)
        return (*self._model.grid.near(*image.size), image.size)

    def _job(self, asked: Asked, pipeline: Any, given: dict[str, Any], size: tuple[int, int], finish: Finish) -> Job:
        takes, (width, height) = parameters(pipeline), size
        steps = run = asked.steps or self._model.steps(asked.quality)
        if "strength" in takes:
            strength = asked.strength or (1.0 if asked.mask else _STRENGTH.get(asked.kind, 1.0))
            steps = max(steps, math.ceil(1 / strength))
            run = int(steps * strength)  # it begins where the picture that was sent would be on the way
            given["strength"] = strength
        elif asked.strength is not None:
            raise Refused("This model takes no `strength`.", param="strength", code="unsupported_parameter")
        call = {"prompt": asked.prompt, "num_inference_steps": steps, **given, **self._model.guidance(pipeline, asked.guidance)}
        call |= {name: value for name, value in (("width", width), ("height", height)) if name in takes}
        if asked.negative is not None:
            if "negative_prompt" not in takes:
                raise Refused("This model takes no `negative_prompt`.", param="negative_prompt", code="unsupported_parameter")
            call["negative_prompt"] = asked.negative
        elif type(pipeline).__name__.startswith("Qwen"):
            call["negative_prompt"] = " "  # without one it does not follow the words more strictly
        return Job(pipeline, call, width, height, run, finish)

    def _for_use(self, use: Use, otherwise: str) -> Any:
        pipeline = self._model.for_use(use)
        if pipeline is None:
            raise Refused(otherwise, param="model", code="unsupported_model")
        return pipeline

    def _check_prompt(self, asked: Asked) -> None:
        for param, text in (("prompt", asked.prompt), ("negative_prompt", asked.negative or "")):
            tokens, most = self._model.prompt_tokens(text)
            if tokens > most:
                raise Refused(
                    f"The {param} has {tokens} tokens, and this model reads {most}; it would not see the end.",
                    param=param,
                    code="context_length_exceeded",
                )


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
