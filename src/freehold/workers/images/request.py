"""What a request asks for, as the gateway sends it: OpenAI's fields, already checked for their types and bounds.

POST /v1/images/generations             JSON
POST /v1/images/edits, …/variations     multipart/form-data: the JSON as `request`, files as `image` and `mask`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from PIL.Image import Image

Kind = Literal["generation", "edit", "variation"]


@dataclass(frozen=True)
class Asked:
    """`size` is None for the model's own, or that of the picture; `steps`, `guidance` and `strength` are None for the model's
    own, too, and `seed` for one at random. `partials` is how many pictures in the making are shown; `background` is
    "opaque" or "transparent"."""

    kind: Kind
    prompt: str
    negative: str | None
    n: int
    size: tuple[int, int] | None
    quality: str
    steps: int | None
    seed: int | None
    guidance: float | None
    strength: float | None
    form: str
    compression: int
    stream: bool
    partials: int
    background: str
    images: tuple[Image, ...] = ()
    mask: Image | None = None


def parsed(kind: Kind, table: Mapping[str, Any], images: tuple[Image, ...] = (), mask: Image | None = None) -> Asked:
    """Raises KeyError, TypeError or ValueError for what no gateway sends."""
    size = table.get("size", "auto")
    width, height = (None, None) if size == "auto" else map(int, size.split("x"))
    return Asked(
        kind=kind,
        prompt=str(table.get("prompt", "")),
        negative=table.get("negative_prompt"),
        n=int(table.get("n", 1)),
        size=None if width is None or height is None else (width, height),
        quality=str(table.get("quality", "medium")),
        steps=table.get("steps"),
        seed=table.get("seed"),
        guidance=table.get("guidance_scale"),
        strength=table.get("strength"),
        form=str(table.get("output_format", "png")),
        compression=int(table.get("output_compression", 100)),
        stream=bool(table.get("stream", False)),
        partials=int(table.get("partial_images", 0)),
        background=str(table.get("background", "opaque")),
        images=images,
        mask=mask,
    )
