"""OpenAI's answers: the ImagesResponse, and the events of a streamed one."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from freehold.workers.images.draw import Drawn
from freehold.workers.images.request import Asked


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


def whole(asked: Asked, drawn: Sequence[Drawn], tokens: Tokens) -> bytes:
    """`seed` of each picture is an extension: with it the same request draws the same picture."""
    answer = {
        "created": int(time.time()),
        "data": [{"b64_json": _text(each.data), "seed": each.seed} for each in drawn],
        **_described(asked, drawn[0].width, drawn[0].height),
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
        "background": "opaque",
        "output_format": asked.form,
    }


def _event(name: str, body: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **body})}\n\n".encode()


def _family(asked: Asked) -> str:
    return "image_generation" if asked.kind == "generation" else "image_edit"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
