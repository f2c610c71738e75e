"""Answers of chats, completions and embeddings as Ollama's objects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from freehold.errors import FreeholdError
from freehold.protocol.ollama.errors import envelope
from freehold.protocol.plan import Chunk, Joiner
from freehold.protocol.values import Usage

_NS = 1_000_000_000

# What is said in one object: its text, what was thought, and the tools' calls.
Said = Callable[[str, str, list[dict[str, Any]]], dict[str, Any]]


def as_message(text: str, thought: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """As /api/chat has it."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thought:
        message["thinking"] = thought
    if calls:
        message["tool_calls"] = calls
    return {"message": message}


def as_response(text: str, thought: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """As /api/generate has it."""
    return {"response": text, "thinking": thought} if thought else {"response": text}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class AnswerJoiner:
    """One answer. `inner` is the joiner of a chat or a completion; `name` is the model's, as it was asked for; `began` is when
    the request came (time.monotonic): what has gone by since, when this is made, is the load's."""

    complete = False

    def __init__(self, inner: Joiner, name: str, said: Said, began: float):
        self._inner = inner
        self._name = name
        self._said = said
        self._began = began
        self._load = time.monotonic() - began
        self._timings: Mapping[str, Any] = {}
        self._reason = "stop"
        self._calls: dict[int, dict[str, str]] = {}

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    def opening(self) -> Iterable[Chunk]:
        return ()

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        self._timings = chunk.pop("timings", None) or self._timings
        return [
            made
            for inner in self._inner.chunk(call, chunk)
            for choice in inner["choices"]
            if (made := self._piece(choice, choice.get("delta") or {"content": choice.get("text")}))
        ]

    def closing(self) -> Iterable[Chunk]:
        calls = self._called()
        return [*([self._object("", "", calls)] if calls else []), self._object("", "", []) | self._end()]

    def failed(self, error: FreeholdError) -> Iterable[Chunk]:
        return (envelope(error),)

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        (answer,) = answers
        self._timings = answer.get("timings") or {}
        choice = self._inner.whole(answers)["choices"][0]
        message = choice.get("message") or {"content": choice["text"]}
        self._take(choice, message)
        made = self._object(message.get("content") or "", message.get("reasoning_content") or "", self._called())
        return made | _scores(choice) | self._end()

    def _piece(self, choice: Mapping[str, Any], delta: Mapping[str, Any]) -> Chunk | None:
        self._take(choice, delta)
        text, thought = delta.get("content") or "", delta.get("reasoning_content") or ""
        scores = _scores(choice)
        return self._object(text, thought, []) | scores if text or thought or scores else None

    def _take(self, choice: Mapping[str, Any], delta: Mapping[str, Any]) -> None:
        """Keeps what is told at the end only: the calls, whole, and why it ended."""
        for number, call in enumerate(delta.get("tool_calls") or ()):
            kept = self._calls.setdefault(call.get("index", number), {"name": "", "arguments": ""})
            function = call.get("function") or {}
            kept["name"] = function.get("name") or kept["name"]
            kept["arguments"] += function.get("arguments") or ""
        if choice.get("finish_reason"):
            self._reason = "length" if choice["finish_reason"] == "length" else "stop"

    def _called(self) -> list[dict[str, Any]]:
        """The calls; one that the limit of tokens cut short is no call."""
        made = []
        for index, call in sorted(self._calls.items()):
            try:
                arguments = json.loads(call["arguments"] or "{}")
            except (ValueError, RecursionError):
                continue
            if isinstance(arguments, dict):
                made.append({"function": {"index": index, "name": call["name"], "arguments": arguments}})
        return made

    def _object(self, text: str, thought: str, calls: list[dict[str, Any]]) -> Chunk:
        return {"model": self._name, "created_at": now(), **self._said(text, thought, calls), "done": False}

    def _end(self) -> dict[str, Any]:
        timings, usage = self._timings, self.usage
        return {
            "done": True,
            "done_reason": self._reason,
            "total_duration": int((time.monotonic() - self._began) * _NS),
            "load_duration": int(self._load * _NS),
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": int(float(timings.get("prompt_ms") or 0) * 1e6),
            "eval_count": usage.completion_tokens,
            "eval_duration": int(float(timings.get("predicted_ms") or 0) * 1e6),
        }


def _scores(choice: Mapping[str, Any]) -> dict[str, Any]:
    """`logprobs` as a list of tokens, from a chat's table or a completion's."""
    table = choice.get("logprobs") or {}
    if "content" in table:
        return {"logprobs": [_score(item) for item in table["content"] or ()]}
    if not table:
        return {}
    tops = table["top_logprobs"]
    rows = zip(table["tokens"], table["token_logprobs"], tops, strict=True)
    return {
        "logprobs": [
            {"token": token, "logprob": score, **({"top_logprobs": _tops(top)} if top else {})} for token, score, top in rows
        ]
    }


def _tops(top: Mapping[str, float]) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": score} for token, score in top.items()]


def _score(item: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: item[name] for name in ("token", "logprob", "bytes") if name in item}
    if item.get("top_logprobs"):
        told["top_logprobs"] = [{"token": top["token"], "logprob": top["logprob"]} for top in item["top_logprobs"]]
    return told


class EmbedJoiner:
    """Vectors. `one` is the older form, of one vector and nothing else."""

    complete = False

    def __init__(self, inner: Joiner, name: str, one: bool, began: float):
        self._inner = inner
        self._name = name
        self._one = one
        self._began = began
        self._load = time.monotonic() - began

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    def opening(self) -> Iterable[Chunk]:
        return ()

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        return ()

    def closing(self) -> Iterable[Chunk]:
        return ()

    def failed(self, error: FreeholdError) -> Iterable[Chunk]:
        return (envelope(error),)

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        vectors = [row["embedding"] for row in self._inner.whole(answers)["data"]]
        if self._one:
            return {"embedding": vectors[0]}
        return {
            "model": self._name,
            "embeddings": vectors,
            "total_duration": int((time.monotonic() - self._began) * _NS),
            "load_duration": int(self._load * _NS),
            "prompt_eval_count": self.usage.prompt_tokens,
        }
