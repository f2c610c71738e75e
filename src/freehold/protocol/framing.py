"""How a dialect writes a streamed answer: the same events as bytes, in the frames that its clients read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.protocol import sse

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Framing:
    """`encode` makes one event's bytes; `end` follows the last event of every stream, one that failed included."""

    content_type: str
    encode: Callable[[Event], bytes]
    end: bytes = b""

    def frames(self, events: Iterable[Event]) -> bytes:
        return b"".join(map(self.encode, events))


_SSE = "text/event-stream; charset=utf-8"
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _text(event: Event) -> bytes:
    return _JSON(event).encode("utf-8", "surrogatepass")


def _named(event: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _text(event))


def _line(event: Event) -> bytes:
    return _text(event) + b"\n"


CHUNKS = Framing(_SSE, sse.encode, sse.DONE)  # OpenAI's chat and text completions
NAMED_EVENTS = Framing(_SSE, _named)  # each event under the name that is its `type`
LINES = Framing("application/x-ndjson", _line)  # a JSON object a line
