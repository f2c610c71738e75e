"""Answers of engines of other makers, as those of this server's own: events in one form, the model by its name here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from freehold.protocol import sse

# A quote inside a JSON string is escaped, so that neither can be met within generated text.
_MODEL = re.compile(rb'"model":\s*"(?:[^"\\]|\\.)*"')
_REASONING = re.compile(rb'"reasoning":(?=\s*")')  # vLLM's newer name of `reasoning_content`


def renamed(body: bytes, model: str) -> bytes:
    """The body of an answer in which the model has that name, and thoughts are where this server's clients look for them."""
    name = f'"model":{json.dumps(model)}'.encode()
    return _REASONING.sub(b'"reasoning_content":', _MODEL.sub(lambda found: name, body))


class Events:
    """Bytes of an event stream (WHATWG HTML §9.2) in, however it ends its lines and whatever fields it has; whole events of
    the form `data: …` out. Raises EngineBadResponse for an event without an end."""

    def __init__(self, model: str) -> None:
        self.done = False  # the stream's regular end has come
        self._model = model
        self._cutter = sse.EventCutter()
        self._held = b""  # a carriage return at the end of a piece, of which the line's other half may follow

    def feed(self, data: bytes) -> bytes:
        if self._held or b"\r" in data:
            data = self._held + data
            self._held = b"\r" if data.endswith(b"\r") else b""
            data = data.removesuffix(self._held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return self._told(self._cutter.feed(data))

    def end(self) -> bytes:
        """What a stream that ends without an empty line leaves."""
        return self._told(self._cutter.feed(b"\n\n"))

    def _told(self, events: bytes) -> bytes:
        if not events.strip():
            return b""
        events = renamed(events, self._model)
        lines = events.count(b"\n") == 2 * events.count(b"\n\n")  # one an event
        return events if lines and sse.plain(events) else b"".join(self._framed(events))

    def _framed(self, events: bytes) -> Iterator[bytes]:
        for event in events.split(b"\n\n"):
            lines = [line.partition(b":") for line in event.split(b"\n")]
            data = b" ".join(value.removeprefix(b" ") for name, _, value in lines if name in (b"data", b"error"))
            if data.strip():
                self.done = self.done or data.strip() == b"[DONE]"
                yield b"data: " + data.strip() + b"\n\n"
