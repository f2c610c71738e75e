"""llama.cpp's answers as bytes, its peculiarities included (tools/server/server-task.cpp, version of October 2026).

Peculiar, and kept: every id starts with "chatcmpl-"; `usage` counts the first choice only, and a stream of several choices
carries it once for each; a completion stream of several choices holds `data: null`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

DONE = b"data: [DONE]\n\n"
ERROR = {"code": 500, "message": "Compute error.", "type": "server_error"}
LOADING = {"message": "Loading model", "type": "unavailable_error", "code": 503}
NOT_FOUND = {"message": "File Not Found", "type": "not_found_error", "code": 404}

Kind = Literal["chat", "completion", "native"]


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(value: Any) -> bytes:
    return b"data: %b\n\n" % dumps(value)


def error(fault: dict[str, Any]) -> bytes:
    return dumps({"error": fault})


def metrics(tokens: int, active: int, waiting: int) -> bytes:
    """The exposition that llama.cpp has under /metrics, those of its rows that the fake engine can tell."""
    rows = (
        ("tokens_predicted_total", "counter", tokens),
        ("requests_processing", "gauge", active),
        ("requests_deferred", "gauge", waiting),
    )
    return "".join(f"# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}\n" for name, kind, value in rows).encode()


def bad_request(message: str) -> bytes:
    return error({"code": 400, "message": message, "type": "invalid_request_error"})


def context_exceeded(tokens: int, limit: int) -> bytes:
    message = f"request ({tokens} tokens) exceeds the available context size ({limit} tokens), try increasing it"
    return error(
        {"code": 400, "message": message, "type": "exceed_context_size_error", "n_prompt_tokens": tokens, "n_ctx": limit}
    )


@dataclass(frozen=True)
class Text:
    """A generated text: the words, as tokens with their leading blank, and what the shapes need to know of the request."""

    kind: Kind
    words: Sequence[str]
    finish: Literal["stop", "length"]
    choices: int
    prompt_tokens: int
    include_usage: bool
    model: str
    number: int

    def whole(self) -> bytes:
        """The body when nothing is streamed."""
        text = "".join(self.words)
        if self.kind == "native":
            return dumps(self._native(text, stop=True))
        if self.kind == "chat":
            message = {"role": "assistant", "content": text}
            choices = [{"finish_reason": self.finish, "index": i, "message": message} for i in range(self.choices)]
        else:
            choices = [self._text(i, text, self.finish) for i in range(self.choices)]
        return dumps({"choices": choices, **self._common(""), **self._figures()})

    def opening(self) -> list[bytes]:
        """Events before the first word."""
        if self.kind == "chat":
            role = {"role": "assistant", "content": None}
            return [self._chat_event(i, role, None) for i in range(self.choices)]
        return [event(None)] * (self.choices - 1) if self.kind == "completion" else []

    @property
    def steps(self) -> int:
        return len(self.words)

    def step(self, number: int) -> bytes:
        """The events of the word `number` of every choice."""
        word = dumps(self.words[number])
        return b"".join(before + word + after for before, after in self._frames)

    def closing(self) -> list[bytes]:
        """Events after the last word."""
        if self.kind == "native":
            return [event(self._native("", stop=True))]
        if self.kind == "completion":
            last = [
                {"choices": [self._text(i, "", self.finish)], **self._common(""), **self._figures()}
                for i in range(self.choices)
            ]
            return [*map(event, last), DONE]
        events = []
        for i in range(self.choices):
            events.append(self._chat_event(i, {}, self.finish))
            if self.include_usage:
                events.append(event({"choices": [], **self._common(".chunk"), **self._figures()}))
        return [*events, DONE]

    @cached_property
    def _frames(self) -> list[tuple[bytes, bytes]]:
        return [self._frame(i) for i in range(self.choices)]

    def _frame(self, index: int) -> tuple[bytes, bytes]:
        """What stands before and after the word in its event, so that a word costs two concatenations."""
        mark = "\0"
        match self.kind:
            case "chat":
                whole = self._chat_event(index, {"content": mark}, None)
            case "completion":
                whole = event({"choices": [self._text(index, mark, None)], **self._common("")})
            case "native":
                whole = event({"index": index, "content": mark, "tokens": [], "stop": False})
        before, _, after = whole.partition(dumps(mark))
        return before, after

    def _chat_event(self, index: int, delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"finish_reason": finish, "index": index, "delta": delta}
        return event({"choices": [choice], **self._common(".chunk")})

    def _text(self, index: int, text: str, finish: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}

    def _common(self, suffix: str) -> dict[str, Any]:
        what = "chat.completion" + suffix if self.kind == "chat" else "text_completion"
        return {
            "created": int(time.time()),
            "id": f"chatcmpl-fake{self.number}",
            "model": self.model,
            "system_fingerprint": "fake",
            "object": what,
        }

    def _figures(self) -> dict[str, Any]:
        told, said = self.prompt_tokens, len(self.words)
        details = {"cached_tokens": 0}
        usage = {
            "completion_tokens": said,
            "prompt_tokens": told,
            "total_tokens": told + said,
            "prompt_tokens_details": details,
        }
        timings = {"cache_n": 0, "prompt_n": told, "prompt_ms": 1.0, "predicted_n": said, "predicted_ms": 1.0}
        return {"usage": usage, "timings": timings}

    def _native(self, text: str, *, stop: bool) -> dict[str, Any]:
        counts = {"tokens_predicted": len(self.words), "tokens_evaluated": self.prompt_tokens}
        reason = "eos" if self.finish == "stop" else "limit"
        return {"index": 0, "content": text, "tokens": [], "stop": stop, "model": self.model, "stop_type": reason, **counts}


def unit_vector(text: bytes, size: int) -> list[float]:
    """`size` numbers of length 1 together, the same for the same text."""
    raw = struct.unpack(f"<{size}h", hashlib.shake_256(text).digest(2 * size))
    norm = math.sqrt(sum(number * number for number in raw)) or 1.0
    return [number / norm for number in raw]


@dataclass(frozen=True)
class Vectors:
    """POST /v1/embeddings; `encoding` is "float" or "base64" (little-endian 32-bit floats)."""

    texts: Sequence[bytes]
    size: int
    encoding: str
    model: str
    steps: int = 0

    def whole(self) -> bytes:
        tokens = sum(map(len, self.texts))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        data = [self._one(index, text) for index, text in enumerate(self.texts)]
        return dumps({"model": self.model, "object": "list", "usage": usage, "data": data})

    def _one(self, index: int, text: bytes) -> dict[str, Any]:
        vector = unit_vector(text, self.size)
        if self.encoding != "base64":
            return {"embedding": vector, "index": index, "object": "embedding"}
        packed = base64.b64encode(struct.pack(f"<{self.size}f", *vector)).decode()
        return {"embedding": packed, "index": index, "object": "embedding", "encoding_format": "base64"}

    def opening(self) -> list[bytes]:
        return []

    def step(self, number: int) -> bytes:
        raise IndexError(number)

    def closing(self) -> list[bytes]:
        return []
