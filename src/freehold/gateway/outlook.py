"""What is known of a model's pictures before they are drawn: their usual size, steps, and how long they will take here."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any

from freehold.fleet.client import EngineClient
from freehold.gateway.services import Services
from freehold.hardware.pace import Denoiser, Estimate, Pace, estimate, first_estimate
from freehold.hardware.plan import HOST
from freehold.protocol.requests.drawing import Drawing
from freehold.routing.catalog import Entry

_SIDE, _STEPS = 1024, 30  # of a model that says nothing of itself
_LOOK = 10.0  # seconds for the worker's own figures
_UNETS = "unet"


@dataclass(frozen=True)
class Outlook:
    """`known` are the paces that were measured, newest last; `denoiser` is None where nothing is known of it;
    `one_size` says that each picture is drawn in the usual size, and then enlarged."""

    side: int
    steps: int
    known: tuple[Pace, ...]
    denoiser: Denoiser | None
    gpu: bool
    cores: int
    one_size: bool = False

    def estimate(self, value: Drawing | None = None) -> Estimate | None:
        """For one request, all of its pictures, or for one picture as the model usually draws it."""
        order = value.order() if value is not None else {}
        width, height = map(int, order["size"].split("x")) if order.get("size", "auto") != "auto" else (self.side, self.side)
        steps = order.get("steps") or self._steps(order.get("quality", "medium"))
        pixels, count = self.side**2 if self.one_size else width * height, order.get("n", 1)
        found = estimate(list(self.known), pixels, steps)
        if found is None and self.denoiser is not None:
            found = first_estimate(self.denoiser, pixels, steps, self.gpu, self.cores)
        return Estimate(found.seconds * count, found.measured) if found else None

    def _steps(self, quality: str) -> int:
        return {"low": math.ceil(self.steps / 2), "high": self.steps + max(1, self.steps // 2)}.get(quality, self.steps)

    def card(self) -> dict[str, Any]:
        """For the model's description."""
        found = self.estimate()
        told = {"size": f"{self.side}x{self.side}", "steps": self.steps}
        return told | (
            {"seconds_per_picture": round(found.seconds, 2), "measured": found.measured, "estimate": str(found)}
            if found
            else {}
        )


def outlook(services: Services, entry: Entry) -> Outlook:
    options, plan = entry.manifest.options, entry.deployment.plan
    return Outlook(
        side=int(options.get("size", _SIDE)),
        steps=int(options.get("steps", _STEPS)),
        known=tuple(services.paces.of(_identity(entry))),
        denoiser=_denoiser(options),
        gpu=any(share.device != HOST for share in plan.memory),
        cores=plan.knobs.threads,
        one_size=bool(options.get("one_size", False)),
    )


async def remember(services: Services, entry: Entry, client: EngineClient) -> None:
    """Writes down what the last picture took, as its worker measured it. Raises FreeholdError when the worker does not say."""
    answer = await client.get("/v1/images/pace", within=_LOOK)
    try:
        found = json.loads(answer.body)
        pace = Pace(int(found["pixels"]), float(found["step_seconds"]), float(found["rest_seconds"]))
    except (ValueError, TypeError, KeyError):  # null: nothing was measured
        return
    await asyncio.to_thread(services.paces.note, _identity(entry), pace)


def _denoiser(options: Any) -> Denoiser | None:
    components = options.get("components")
    if not isinstance(components, dict):
        return None
    name = next((name for name in ("transformer", _UNETS) if name in components), None)
    if name is None:
        return None
    guidance = options.get("guidance")
    return Denoiser(int(components[name]["parameters"]), name == _UNETS, guidance is None or float(guidance) > 1)


def _identity(entry: Entry) -> str:
    return "\n".join(sorted(file.identity for file in entry.manifest.files)) or entry.manifest.name
