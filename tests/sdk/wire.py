"""What "OpenAI's shape" means here: the SDK's own types, validated strictly, and the fields the specification requires.

The SDK builds its objects without validation, so a missing or mistyped field would go unseen. These look at the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import openai
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

CHAT, EMBEDDING = "gpt-4o", "text-embedding-3-small"
CHAT_MODEL, EMBEDDING_MODEL = "smollm2:135m", "all-minilm:22m"


def validated(kind: type[BaseModel], raw: str | bytes | dict[str, Any]) -> dict[str, Any]:
    """The body as a dict, after strict validation against the SDK's type and the required-but-nullable fields."""
    text = json.dumps(raw) if isinstance(raw, dict) else raw
    kind.model_validate_json(text, strict=True)
    body = json.loads(text)
    _REQUIRED[kind](body)
    return body


def _chat(body: dict[str, Any]) -> None:
    """Required by the specification (CreateChatCompletionResponse), though optional in the Python types."""
    for choice in body["choices"]:
        assert {"finish_reason", "index", "message", "logprobs"} <= set(choice)
        assert {"role", "content", "refusal"} <= set(choice["message"])
    assert body["id"].startswith("chatcmpl-")
    _usage(body["usage"])
    assert "timings" not in body


def _completion(body: dict[str, Any]) -> None:
    for choice in body["choices"]:
        assert {"finish_reason", "index", "text", "logprobs"} <= set(choice)
    assert body["id"].startswith("cmpl-")
    _usage(body["usage"])


def _chunk(body: dict[str, Any]) -> None:
    for choice in body["choices"]:
        assert {"finish_reason", "index", "delta"} <= set(choice)
    assert body["id"].startswith("chatcmpl-")
    assert "timings" not in body


def _embedding(body: dict[str, Any]) -> None:
    assert [item["index"] for item in body["data"]] == list(range(len(body["data"])))
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0


def _model(body: dict[str, Any]) -> None:
    assert body["id"]


def _usage(usage: dict[str, Any]) -> None:
    assert usage["prompt_tokens"] > 0
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]


_REQUIRED = {
    ChatCompletion: _chat,
    ChatCompletionChunk: _chunk,
    Completion: _completion,
    CreateEmbeddingResponse: _embedding,
    Model: _model,
}


def chat(client: openai.OpenAI, prompt: str | None = None, **fields: Any) -> dict[str, Any]:
    """A whole chat answer, validated. Temperature 0 and few tokens unless said otherwise."""
    given = {"model": CHAT, "temperature": 0, "max_tokens": 12} | fields
    if prompt is not None:
        given["messages"] = [{"role": "user", "content": prompt}]
    raw = client.chat.completions.with_raw_response.create(**given)
    return validated(ChatCompletion, raw.http_response.content)


def chat_stream(client: openai.OpenAI, prompt: str | None = None, **fields: Any) -> list[dict[str, Any]]:
    """Every chunk of a streamed chat answer, each validated."""
    given = {"model": CHAT, "temperature": 0, "max_tokens": 12} | fields
    if prompt is not None:
        given["messages"] = [{"role": "user", "content": prompt}]
    with client.chat.completions.create(stream=True, **given) as stream:
        chunks = [validated(ChatCompletionChunk, chunk.to_dict(mode="json")) for chunk in stream]
    assert len({chunk["id"] for chunk in chunks}) == 1
    return chunks


def complete(client: openai.OpenAI, prompt: Any, **fields: Any) -> dict[str, Any]:
    """A whole text completion, validated."""
    given = {"model": CHAT, "temperature": 0, "max_tokens": 8} | fields
    raw = client.completions.with_raw_response.create(prompt=prompt, **given)
    return validated(Completion, raw.http_response.content)


def embed(client: openai.OpenAI, texts: Any, **fields: Any) -> dict[str, Any]:
    """Embeddings as floats, validated."""
    raw = client.embeddings.with_raw_response.create(model=EMBEDDING, input=texts, encoding_format="float", **fields)
    return validated(CreateEmbeddingResponse, raw.http_response.content)


def said(chunks: Iterable[dict[str, Any]], index: int = 0) -> str:
    """The text a stream's choice adds up to."""
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def finish(chunks: Iterable[dict[str, Any]], index: int = 0) -> str:
    """The one finish reason of a stream's choice."""
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(reasons) == 1, "a choice finishes once"
    return reasons[0]


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (sum(a * a for a in one) ** 0.5 * sum(b * b for b in other) ** 0.5)
