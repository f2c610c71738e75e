"""What the protocol needs to know of a model, and what a request costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_DOES: Mapping[str, str] = {
    "embedding": "it makes embeddings: use /v1/embeddings",
    "rerank": "it ranks documents: use /v1/rerank",
    "decision": "it answers typed questions: use /v1/decisions",
    "transcription": "it writes down what is said: use /v1/audio/transcriptions",
    "speech": "it speaks: use /v1/audio/speech",
    "image": "it draws: use /v1/images/generations",
}


@dataclass(frozen=True)
class Target:
    """The model that a request is for. `context` and `max_output_tokens` are tokens a request; `dimensions` are the sizes
    that an embedding model was trained to be cut to; `sampling` holds the model's own recommended defaults; `system` is the
    system message of chats that bring none, `examples` are turns (role, text) that stand before those of any; `marks` are its
    tokens for filling in the middle, by their texts, and `fim` the family of models that it is asked like, where one is set;
    `score` is what the head of a model that ranks gives: a "logit", its "tanh", or a "probability"; `guard` is the family of a
    guard model (`freehold.protocol.guards`); `pictures` are this request's images that were fetched, as data: URIs by their
    addresses; an `external` one is another maker's engine's, which takes OpenAI's own fields."""

    name: str
    task: str
    context: int
    slots: int
    vocab_size: int
    max_output_tokens: int
    capabilities: frozenset[str]
    sampling: Mapping[str, float | tuple[str, ...]] = field(default_factory=dict)
    dimensions: tuple[int, ...] = ()
    embedding_length: int = 0
    marks: Mapping[str, int] = field(default_factory=dict)
    fim: str = ""
    system: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    score: str = ""
    guard: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)
    external: bool = False

    @property
    def does(self) -> str:
        """What it does instead of chatting, for who asked the wrong model."""
        return _DOES.get(self.task, "see /v1/models for what it does")


@dataclass(frozen=True)
class Usage:
    """Tokens, as the engine counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )

    @classmethod
    def from_engine(cls, usage: Mapping[str, Any]) -> Usage:
        """From an engine's `usage` object; what is missing there counts nothing."""
        details = usage.get("prompt_tokens_details") or {}
        return cls(
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            int(details.get("cached_tokens") or 0) if isinstance(details, dict) else 0,
        )

    def as_json(self) -> dict[str, Any]:
        """OpenAI's `usage` object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }
