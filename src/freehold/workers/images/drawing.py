"""What a worker that draws is to the HTTP around it: an artist, who takes jobs, tells how far they are, and can be stopped."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from freehold.workers.images.request import Asked

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


@dataclass(frozen=True)
class Tokens:
    """`text` of the prompt, `sent` of a picture that was sent, `drawn` of the pictures of the answer: the patches that the
    model computes with."""

    text: int
    sent: int
    drawn: int

    def usage(self) -> dict[str, Any]:
        given = self.text + self.sent
        return {
            "total_tokens": given + self.drawn,
            "input_tokens": given,
            "output_tokens": self.drawn,
            "input_tokens_details": {"text_tokens": self.text, "image_tokens": self.sent},
            "output_tokens_details": {"text_tokens": 0, "image_tokens": self.drawn},
        }


@dataclass
class Watch:
    """What a drawing tells: each step, and pictures in the making. Methods run in the drawing's thread."""

    step: Callable[[int, int], None] = lambda done, total: None
    partial: Callable[[bytes], None] = lambda data: None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises Cancelled."""
        if self.cancelled.is_set():
            raise Cancelled


class Job(Protocol):
    """A request, resolved against a model: `width` and `height` of the picture that is drawn, and the steps that it takes."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def steps(self) -> int: ...


J = TypeVar("J", bound=Job)


class Artist(Protocol[J]):
    """One model that draws; never asked for two things at a time."""

    native: str | None  # the size that it draws whatever is asked for, where that is so
    pace: Pace | None  # of its last picture; None before there was one

    def trial(self) -> Asked:
        """A request as small as the model can draw."""

    def job(self, asked: Asked) -> J:
        """Raises Refused for what this model cannot do."""

    def draw(self, asked: Asked, job: J, seeds: Sequence[int], watch: Watch) -> list[Drawn]:
        """A picture for each seed. Raises Cancelled, and Refused where the model draws nothing."""

    def tokens(self, asked: Asked, job: J, pictures: int) -> Tokens:
        """What a request took."""


def seeds(asked: Asked) -> list[int]:
    """A seed for each picture, in a row from the first; that one is random unless it was asked for."""
    first = asked.seed if asked.seed is not None else secrets.randbelow(_LARGEST_SEED - asked.n)
    return [(first + each) % 2**63 for each in range(asked.n)]


def partial_steps(count: int, steps: int) -> set[int]:
    """After which steps pictures in the making are shown, evenly spread; none after the last."""
    return {round(steps * (each + 1) / (count + 1)) for each in range(count)} - {0, steps}
