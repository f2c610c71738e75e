"""A filled gap in the shapes of the APIs that asked for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from freehold.errors import FreeholdError
from freehold.protocol.fim.chat import Begun
from freehold.protocol.fim.fill import Filled
from freehold.protocol.fim.overlap import Overlap
from freehold.protocol.plan import Chunk, Joiner, OpenAIJoiner
from freehold.protocol.values import Usage


class Joined:
    """OpenAI's text completion of a fill, without what the texts around it say anyway: `blanks` before it, the beginning of
    `suffix` behind. One choice a call."""

    def __init__(self, completion: Joiner, suffix: str, filled: Filled, blanks: str = ""):
        self.filled = filled
        self._completion = completion
        self._suffix = suffix
        self._blanks = blanks
        self._edges: dict[int, tuple[Begun, Overlap]] = {}

    @property
    def usage(self) -> Usage:
        return self._completion.usage

    @property
    def complete(self) -> bool:
        return self._completion.complete

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        body = self._completion.whole(answers)
        for choice in body["choices"]:
            begun, overlap = self._new_edges()
            choice["text"] = overlap.feed(begun.feed(choice["text"])) + overlap.end()
        return body

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        if call not in self._edges:
            self._edges[call] = self._new_edges()
        begun, overlap = self._edges[call]
        for made in self._completion.chunk(call, chunk):
            choice = made["choices"][0]
            choice["text"] = overlap.feed(begun.feed(choice["text"]))
            if choice["finish_reason"] is not None:
                choice["text"] += overlap.end()
            if choice["text"] or choice["finish_reason"] is not None:
                yield made

    def closing(self) -> Iterable[Chunk]:
        return self._completion.closing()

    def _new_edges(self) -> tuple[Begun, Overlap]:
        return Begun(self._blanks), Overlap(self._suffix)


class OpenAI(OpenAIJoiner):
    """OpenAI's text completion itself."""

    def __init__(self, joined: Joined):
        self._joined = joined

    @property
    def usage(self) -> Usage:
        return self._joined.usage

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self._joined.complete

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return self._joined.whole(answers)

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        return self._joined.chunk(call, chunk)

    def closing(self) -> Iterable[Chunk]:
        return self._joined.closing()


Shape = OpenAI


class Mistral(OpenAI):
    """A chat completion, as Mistral's API answers."""

    def __init__(self, joined: Joined):
        super().__init__(joined)
        self._id = secrets.token_hex(16)
        self._last: Chunk = {}

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        body = super().whole(answers)
        choices = [
            {
                "index": choice["index"],
                "message": {"role": "assistant", "content": choice["text"], "tool_calls": None},
                "finish_reason": choice["finish_reason"],
            }
            for choice in body["choices"]
        ]
        return {**body, "id": self._id, "object": "chat.completion", "choices": choices}

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        for made in super().chunk(call, chunk):
            choice = made["choices"][0]
            delta = {"role": "assistant", "content": choice["text"]} if not self._last else {"content": choice["text"]}
            shown = {"index": choice["index"], "delta": delta, "finish_reason": choice["finish_reason"]}
            self._last = {**made, "id": self._id, "object": "chat.completion.chunk", "choices": [shown]}
            if choice["finish_reason"] is None:
                yield self._last

    def closing(self) -> Iterable[Chunk]:
        """The last chunk carries the usage, which comes after it from the engine."""
        return [{**self._last, "usage": self.usage.as_json()}] if self._last else []


class Tabby(OpenAI):
    """Tabby's own shape: the texts."""

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        body = super().whole(answers)
        return {"id": body["id"], "choices": [{"index": each["index"], "text": each["text"]} for each in body["choices"]]}


_STOPS = {"stop": "eos", "length": "limit"}


class Infill(OpenAI):
    """llama.cpp's own shape. `fields` are those that the client wants, all without it."""

    def __init__(self, joined: Joined, fields: Sequence[str] | None):
        super().__init__(joined)
        self._fields = fields
        self._model = ""
        self._reason = "stop"

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        body = super().whole(answers)
        choice = body["choices"][0]
        return self._ended(choice["text"], body["model"], choice["finish_reason"])

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        for made in super().chunk(call, chunk):
            choice = made["choices"][0]
            self._model = made["model"]
            self._reason = choice["finish_reason"] or self._reason
            if choice["text"]:
                yield {"index": 0, "content": choice["text"], "stop": False}

    def closing(self) -> Iterable[Chunk]:
        return [self._ended("", self._model, self._reason)]

    def failed(self, error: FreeholdError) -> Iterable[Chunk]:
        return (error.envelope(),)

    def _ended(self, text: str, model: str, reason: str) -> dict[str, Any]:
        answer = {
            "index": 0,
            "content": text,
            "model": model,
            "stop": True,
            "stop_type": _STOPS.get(reason, "eos"),
            "tokens_predicted": self.usage.completion_tokens,
            "tokens_evaluated": self.usage.prompt_tokens,
            "tokens_cached": self.usage.cached_tokens,
            "truncated": self._joined.filled.cut > 0,
            "extras_used": self._joined.filled.extras,
        }
        return answer if self._fields is None else picked(answer, self._fields)


def picked(answer: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The wanted fields that there are, each under the path that it was asked by, as llama.cpp does."""
    return {name: answer[name] for name in fields if name in answer}
