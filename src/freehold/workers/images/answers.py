"""OpenAI's answers: the ImagesResponse, and the events of a streamed one."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from typing import Any

from freehold.workers.images.drawing import Drawn, Tokens
from freehold.workers.images.request import Asked


def whole(asked: Asked, drawn: Sequence[Drawn], tokens: Tokens, native: str | None) -> bytes:
    """`seed` of each picture is an extension: with it the same request draws the same picture. So is `native_size`, of a model
    that draws in one size alone: the answer's was made of it."""
    answer = {
        "created": int(time.time()),
        "data": [{"b64_json": _text(each.data), "seed": each.seed} for each in drawn],
        **_described(asked, drawn[0].width, drawn[0].height),
        **({"native_size": native} if native else {}),
        "usage": tokens.usage(),
    }
    return json.dumps(answer).encode()


def partial_event(asked: Asked, data: bytes, index: int, width: int, height: int) -> bytes:
    body = {"b64_json": _text(data), "created_at": int(time.time()), **_described(asked, width, height)}
    return _event(f"{_family(asked)}.partial_image", {**body, "partial_image_index": index})


def completed_event(asked: Asked, drawn: Drawn, tokens: Tokens) -> bytes:
    body = {"b64_json": _text(drawn.data), "created_at": int(time.time()), **_described(asked, drawn.width, drawn.height)}
    return _event(f"{_family(asked)}.completed", {**body, "usage": tokens.usage(), "seed": drawn.seed})


def error_event(envelope: dict[str, Any]) -> bytes:
    return _event("error", {"type": "error", **envelope})


def step_comment(done: int, total: int) -> bytes:
    """A comment of the event stream (which clients skip): it says how far the picture is, and keeps the connection alive."""
    return f": step {done}/{total}\n\n".encode()


def _described(asked: Asked, width: int, height: int) -> dict[str, str]:
    return {
        "size": f"{width}x{height}",
        "quality": asked.quality,
        "background": asked.background,
        "output_format": asked.form,
    }


def _event(name: str, body: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **body})}\n\n".encode()


def _family(asked: Asked) -> str:
    return "image_generation" if asked.kind == "generation" else "image_edit"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
