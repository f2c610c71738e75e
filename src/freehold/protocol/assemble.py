"""The events of one engine call put together again: the answer that the engine would have given whole.

The engine is asked for a stream also where the client wants a whole answer: llama.cpp's server looks for a client that has
left whenever it has a token to send, but while it keeps an answer for later only when no request of the model has got one for
a second. Where its stream does not say the same as its whole answer, it is asked for the whole one: `Plan.streamed`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from pydantic_core import from_json

from freehold.errors import EngineBadResponse
from freehold.protocol import sse
from freehold.protocol.engine_errors import in_stream
from freehold.protocol.plan import encode
from freehold.protocol.shape import sound


@contextlib.contextmanager
def _shapes() -> Iterator[None]:
    """Where an engine's values are taken for what they should be."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise EngineBadResponse("The model's worker sent something that is not an event.") from None


class Assembly:
    """Takes one call's events, of one choice, as bytes; `answer` has the whole. `param` and `constraint` are the plan's;
    `external` tells an engine of another maker.

    `feed` and `answer` raise what an error event means, EngineBadResponse for what is not a chunk.
    """

    def __init__(self, param: str, constraint: str, *, external: bool = False):
        self.complete = False  # the stream's regular end has come
        self._meaning = partial(in_stream, external=external, param=param, constraint=constraint)
        self._cutter = sse.EventCutter()
        self._last: dict[str, Any] = {}
        self._usage: Any = None
        self._timings: Any = None
        self._text: list[str] | None = None
        self._message: _Message | None = None
        self._logprobs: dict[str, list[Any]] = {}
        self._finish: str | None = None
        self._told: int | None = None  # tokens made when something was last said, where the engine says so

    @property
    def lacks(self) -> bool:
        """Whether the engine may have held back the end of an answer that its limit cut, because a stop string may have begun
        in it: it does not tell when none has come of that. Known of answers with `timings_per_token` only."""
        made = (self._usage or {}).get("completion_tokens")
        return self._told is not None and self._finish == "length" and self._told != made

    def feed(self, data: bytes) -> None:
        """Takes bytes as they arrive, split anywhere."""
        with _shapes():
            for payload in sse.payloads(self._cutter.feed(data)):
                if payload == b"[DONE]":
                    self.complete = True
                    return
                self._add(payload)

    def answer(self) -> dict[str, Any]:
        """The engine's whole answer, once the stream is `complete`."""
        choice: dict[str, Any] = {"finish_reason": self._finish, "index": 0}
        with _shapes():
            if self._message is not None:
                choice["message"] = self._message.whole()
                if self._logprobs:
                    choice["logprobs"] = self._logprobs
            elif self._text is not None:
                choice |= {"text": "".join(self._text), "logprobs": self._logprobs or None}
            if self._finish is None or len(choice) == 2:
                raise EngineBadResponse("The model's worker ended its answer before the end.")
            kind = str(self._last.get("object") or "chat.completion").removesuffix(".chunk")
            head = self._last | {"choices": [choice], "object": kind}
        return head | {name: value for name, value in (("usage", self._usage), ("timings", self._timings)) if value}

    def _add(self, payload: bytes) -> None:
        chunk = from_json(payload)
        error = chunk.get("error", chunk if "code" in chunk and "message" in chunk else None)
        if error is not None:
            raise self._meaning(error if isinstance(error, dict) else {"message": str(error)})
        if not sound(chunk):
            raise EngineBadResponse("The model's worker sent something that is not an event.")
        self._last = chunk
        self._usage = chunk.get("usage") or self._usage
        timings = chunk.pop("timings", None) or {}
        self._timings = timings or self._timings
        for choice in chunk.get("choices") or ():
            if timings and choice.get("finish_reason") is None:
                self._told = timings["predicted_n"] if _says(choice) else self._told or 0
            self._finish = choice.get("finish_reason") or self._finish
            for name, items in (choice.get("logprobs") or {}).items():
                self._logprobs.setdefault(name, []).extend(items or ())
            if "text" in choice:
                self._text = self._text or []
                self._text.append(choice["text"])
            else:
                self._message = self._message or _Message()
                self._message.add(choice["delta"])


def _says(choice: dict[str, Any]) -> bool:
    """Whether a chunk's choice says more than who speaks."""
    return bool(choice.get("text")) or any(value for name, value in choice.get("delta", {}).items() if name != "role")


def unstreamed(body: bytes) -> bytes:
    """The same request of the engine, for a whole answer."""
    fields = from_json(body)
    for name in ("stream_options", "timings_per_token"):
        fields.pop(name, None)
    return encode(fields | {"stream": False})


class _Message:
    """The deltas of a chat's message."""

    def __init__(self) -> None:
        self._role = "assistant"
        self._texts: dict[str, list[str]] = {"content": []}
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "role":
                self._role = value
            elif name == "tool_calls":
                for part in value or ():
                    self._add_call(part)
            elif value is not None:
                self._texts.setdefault(name, []).append(value)

    def _add_call(self, part: dict[str, Any]) -> None:
        """Arguments come in pieces. A name that is still growing is told anew, as a whole, and so is an id."""
        call = self._calls.setdefault(part["index"], {"type": "function", "function": {"name": "", "arguments": ""}})
        call |= {name: part[name] for name in ("id", "type") if part.get(name)}
        function = part.get("function") or {}
        if name := function.get("name"):
            call["function"]["name"] = name
        call["function"]["arguments"] += function.get("arguments") or ""

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": self._role} | {name: "".join(texts) for name, texts in self._texts.items()}
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return message
