"""How long pictures take on this machine: measured while they are drawn, kept for each model, and told before the next one.

    data_dir/tuning/pace-<model>-<machine>.json

Before anything was measured there is a first estimate, from the size of the part that is run in each step; it is named as one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_MOST = 8  # sizes that are remembered
_LARGEST_FILE = 1 << 14
_PATCH = 256  # pixels that one number of a denoiser is used for: patches of 16 by 16
# Of the products that a transformer of that many numbers computes for each patch, a UNet computes so many: most of its layers
# see the picture at a half, a quarter or an eighth of its sides, but it has four patches where a transformer has one.
_UNET = 0.35
_PEAK: Mapping[str, float] = {"cpu": 4e10, "gpu": 3e13}  # products a second, of a core and of a GPU, as a first guess


@dataclass(frozen=True)
class Pace:
    """What a picture of `pixels` took: seconds for each step, and beside the steps."""

    pixels: int
    step_seconds: float
    rest_seconds: float


@dataclass(frozen=True)
class Estimate:
    """Seconds that a picture will take; `measured` is False for a first estimate."""

    seconds: float
    measured: bool

    def __str__(self) -> str:
        return f"about {duration(self.seconds)}" + (
            "" if self.measured else ", a first estimate: nothing was measured here yet"
        )


class Paces:
    """What was measured on one machine, in a folder that processes share. `machine` is its fingerprint."""

    def __init__(self, data_dir: Path, machine: str):
        self._folder = data_dir / "tuning"
        self._machine = machine

    def of(self, model: str) -> list[Pace]:
        """All of a model (by the identity of its bytes), the newest last. What cannot be read counts as nothing."""
        try:
            path = self._path(model)
            if path.stat().st_size > _LARGEST_FILE:
                return []
            return [_parsed(row) for row in json.loads(path.read_text(encoding="utf-8"))][-_MOST:]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return []

    def note(self, model: str, pace: Pace) -> None:
        """Remembers the newest for each size. A disk that takes nothing costs an estimate, never an answer."""
        kept = [each for each in self.of(model) if each.pixels != pace.pixels][-_MOST + 1 :]
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, staged = tempfile.mkstemp(prefix=".", dir=self._folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump([asdict(each) for each in [*kept, pace]], file)
            Path(staged).replace(self._path(model))

    def _path(self, model: str) -> Path:
        return self._folder / f"pace-{hashlib.sha256(model.encode()).hexdigest()[:16]}-{self._machine}.json"


def estimate(known: list[Pace], pixels: int, steps: int) -> Estimate | None:
    """From what was measured: of several sizes the nearest, in proportion to the pixels. None where nothing was."""
    if not known:
        return None
    near = min(known, key=lambda pace: abs(math.log(pace.pixels / pixels)))
    return Estimate((near.step_seconds * steps + near.rest_seconds) * pixels / near.pixels, measured=True)


@dataclass(frozen=True)
class Denoiser:
    """The part of a model that each step runs: how many numbers it has, whether it is a UNet (else a transformer), and whether
    a step runs it twice, with the words and without."""

    parameters: int
    unet: bool
    twice: bool


def first_estimate(denoiser: Denoiser, pixels: int, steps: int, gpu: bool, cores: int) -> Estimate:
    """Within a factor of a few."""
    products = 2.0 * denoiser.parameters * pixels / _PATCH * (_UNET if denoiser.unet else 1.0)
    peak = _PEAK["gpu"] if gpu else _PEAK["cpu"] * max(1, cores)
    return Estimate((2 if denoiser.twice else 1) * products * steps / peak, measured=False)


def duration(seconds: float) -> str:
    """Seconds for people: "12 s", "3 min", "1.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _parsed(row: Any) -> Pace:
    pace = Pace(int(row["pixels"]), float(row["step_seconds"]), float(row["rest_seconds"]))
    if not (0 < pace.pixels < 1 << 40 and 0 < pace.step_seconds < 1e7 and 0 <= pace.rest_seconds < 1e7):
        raise ValueError("a pace makes no sense")
    return pace
