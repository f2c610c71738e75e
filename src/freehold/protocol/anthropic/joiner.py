"""A chat's answer as Anthropic's events, and those events as a whole message."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from freehold.errors import FreeholdError
from freehold.protocol.anthropic.errors import error_event
from freehold.protocol.plan import Chunk, Joiner
from freehold.protocol.stops import StopFinder
from freehold.protocol.values import Usage

# Anthropic signs what its models think, and reads it only signed. Nothing is signed here, and nobody asks for it back.
SIGNATURE = "unsigned"
_PING: Chunk = {"type": "ping"}
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessagesJoiner:
    """One message. `inner` is the chat's joiner; `silent` leaves out what the model thinks, but not that it did; `kept` keeps
    the events for `whole`."""

    def __init__(self, inner: Joiner, model: str, stops: Sequence[str], *, silent: bool, kept: bool):
        self._inner = inner
        self._model = model
        self._stops = StopFinder(stops)
        self._silent = silent
        self._kept: list[Chunk] | None = [] if kept else None
        self._id = f"msg_{secrets.token_hex(12)}"
        self._began = False
        self._index = -1
        self._block: str | None = None  # the type of the one that is open
        self._call: dict[str, Any] | None = None  # a tool's call whose name may still grow
        self._calls = 0
        self._reason: str | None = None
        self._seen: Usage | None = None  # as the engine reports it on the way
        self.complete = False

    @property
    def usage(self) -> Usage:
        return self._seen if self.complete and self._seen is not None else self._inner.usage

    # What the gateway asks for.

    def opening(self) -> Iterable[Chunk]:
        return ()

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        events: list[Chunk] = []
        self._look(chunk, events)
        for made in self._inner.chunk(call, chunk):
            for choice in made["choices"]:
                self._take(choice, events)
        return self._keep(events)

    def closing(self) -> Iterable[Chunk]:
        events: list[Chunk] = []
        self._begin(events)
        self._say(self._stops.end(), events)
        self._open_call(events)
        self._close(events)
        stop = {"stop_reason": self._why(), "stop_sequence": self._stops.found, "stop_details": None}
        events.append({"type": "message_delta", "delta": stop, "usage": _counts(self.usage)})
        events.append({"type": "message_stop"})
        return self._keep(events)

    def failed(self, error: FreeholdError) -> Iterable[Chunk]:
        return (error_event(error),)

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        for answer in answers:
            events: list[Chunk] = []
            for choice in self._inner.whole([answer])["choices"]:
                self._take({"delta": choice["message"], "finish_reason": choice["finish_reason"]}, events)
            self._keep(events)
        self.closing()
        return message_of(self._kept or ())

    # How a chat's pieces become blocks.

    def _look(self, chunk: Chunk, events: list[Chunk]) -> None:
        """Takes the engine's figures from a chunk. While a prompt of several batches is read, the client is told that it goes
        on; of a shorter one it hears nothing before the answer, so that until then nothing has been promised."""
        if progress := chunk.pop("prompt_progress", None):
            self._seen = Usage(int(progress["total"]), 0, int(progress["cache"]))
            if progress["cache"] < progress["processed"] < progress["total"]:
                self._begin(events)
                events.append(_PING)
        elif timings := chunk.pop("timings", None):
            cached = int(timings.get("cache_n", 0))
            self._seen = Usage(cached + int(timings.get("prompt_n", 0)), int(timings.get("predicted_n", 0)), cached)

    def _take(self, choice: Mapping[str, Any], events: list[Chunk]) -> None:
        if self.complete:
            return
        delta = choice["delta"]
        if thought := delta.get("reasoning_content"):
            self._switch("thinking", {"thinking": "", "signature": ""}, events)
            if not self._silent:
                self._delta({"type": "thinking_delta", "thinking": thought}, events)
        if text := delta.get("content"):
            self._say(self._stops.feed(text), events)
            self.complete = self._stops.found is not None
        for call in delta.get("tool_calls") or ():
            self._tool(call, events)
        self._reason = choice.get("finish_reason") or self._reason

    def _say(self, text: str, events: list[Chunk]) -> None:
        if text:
            self._switch("text", {"text": ""}, events)
            self._delta({"type": "text_delta", "text": text}, events)

    def _tool(self, call: Mapping[str, Any], events: list[Chunk]) -> None:
        """A call's name is told once and whole, so it waits for the first of the arguments."""
        function = call.get("function") or {}
        if self._call is None or call.get("index", self._calls) != self._call["index"]:
            self._open_call(events)
            self._close(events)
            self._call = {"index": call.get("index", self._calls), "name": "", "open": False}
            self._calls += 1
        self._call["name"] = function.get("name") or self._call["name"]
        if arguments := function.get("arguments"):
            self._open_call(events)
            self._delta({"type": "input_json_delta", "partial_json": arguments}, events)

    def _open_call(self, events: list[Chunk]) -> None:
        if self._call is not None and not self._call["open"]:
            self._call["open"] = True
            start = {"id": f"toolu_{secrets.token_hex(12)}", "name": self._call["name"], "input": {}}
            self._start("tool_use", start, events)

    def _switch(self, kind: str, start: Mapping[str, Any], events: list[Chunk]) -> None:
        if self._block != kind:
            self._start(kind, start, events)

    def _start(self, kind: str, start: Mapping[str, Any], events: list[Chunk]) -> None:
        self._begin(events)
        self._close(events)
        self._index += 1
        self._block = kind
        events.append({"type": "content_block_start", "index": self._index, "content_block": {"type": kind, **start}})

    def _delta(self, delta: Chunk, events: list[Chunk]) -> None:
        events.append({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self, events: list[Chunk]) -> None:
        if self._block is None:
            return
        if self._block == "thinking":
            self._delta({"type": "signature_delta", "signature": SIGNATURE}, events)
        self._block = None
        events.append({"type": "content_block_stop", "index": self._index})

    def _begin(self, events: list[Chunk]) -> None:
        if self._began:
            return
        self._began = True
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**_counts(self._seen or Usage()), "service_tier": "standard"},
        }
        events += ({"type": "message_start", "message": message}, _PING)

    def _why(self) -> str:
        if self._stops.found is not None:
            return "stop_sequence"
        if self._calls and self._reason != "length":
            return "tool_use"  # also of a tool that the request named, which OpenAI ends with "stop"
        return _REASONS.get(self._reason or "stop", "end_turn")

    def _keep(self, events: list[Chunk]) -> list[Chunk]:
        if self._kept is not None:
            self._kept += events
        return events


def _counts(usage: Usage) -> dict[str, int]:
    """Anthropic counts what was in the cache apart. It is filled by itself, so nothing is charged as written to it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
    }


def message_of(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole message that a stream's events add up to."""
    message: dict[str, Any] = {}
    pieces: list[list[str]] = []
    for event in events:
        match event["type"]:
            case "message_start":
                message = {**event["message"], "content": []}
            case "content_block_start":
                message["content"].append(dict(event["content_block"]))
                pieces.append([])
            case "content_block_delta":
                _grow(message["content"][event["index"]], pieces[event["index"]], event["delta"])
            case "content_block_stop":
                _finish(message["content"][event["index"]], pieces[event["index"]])
            case "message_delta":
                message |= event["delta"]
                message["usage"] = {**message["usage"], **event["usage"]}
    return message


def _grow(block: dict[str, Any], pieces: list[str], delta: Mapping[str, Any]) -> None:
    match delta["type"]:
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "text_delta":
            pieces.append(delta["text"])
        case "thinking_delta":
            pieces.append(delta["thinking"])
        case "input_json_delta":
            pieces.append(delta["partial_json"])


def _finish(block: dict[str, Any], pieces: Sequence[str]) -> None:
    text = "".join(pieces)
    if block["type"] == "tool_use":
        block["input"] = _input(text)
    else:
        block[block["type"]] = text


def _input(text: str) -> dict[str, Any]:
    """A tool's input. One that the limit of tokens cut short is no JSON, and nothing can be made of it."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
