"""Calls to engines of other makers: bodies as OpenAI's API has them, and the list of models that one serves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freehold.errors import InvalidRequest
from freehold.protocol.plan import encode

_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
_OWN = ("cache_prompt", "timings_per_token", "return_progress", "repeat_last_n")  # what llama.cpp alone is told
_TAKEN = frozenset(
    {
        *("messages", "prompt", "input", "encoding_format", "stream", "stream_options", "max_tokens", "temperature", "top_p"),
        *("stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *("response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"),
        *("top_k", "min_p"),  # not OpenAI's, but vLLM's, SGLang's, TensorRT-LLM's and Freehold's
    }
)
_CONTEXTS = ("max_model_len", "context_length", "max_context_length")


@dataclass(frozen=True)
class Served:
    """A model that an engine serves; `context` is tokens, 0 where it does not say."""

    name: str
    context: int


def outgoing(path: str, body: bytes, model: str, context: int) -> bytes:
    """The body of a call as an engine of another maker takes it. A limit of the whole context is no limit, and some engines
    take it for a request of so many tokens beside the prompt: it is left out.

    Raises InvalidRequest for what only llama.cpp can do.
    """
    if path not in _PATHS:
        raise InvalidRequest(
            f"{path} is not there for models of an external engine.", param="model", code="unsupported_parameter"
        )
    fields: dict[str, Any] = {name: value for name, value in json.loads(body).items() if name not in _OWN}
    for name in fields:
        if name not in _TAKEN or (name == "logprobs" and path == "/v1/completions"):
            raise InvalidRequest(
                f"Unsupported parameter: '{name}'. An external engine cannot be asked for it; leave it out.",
                param=name,
                code="unsupported_parameter",
            )
    if fields.get("max_tokens", 0) >= context:
        del fields["max_tokens"]
    if isinstance(bias := fields.get("logit_bias"), list):
        fields["logit_bias"] = {str(token): -100 if value is False else value for token, value in bias}
    schema = (fields.get("response_format") or {}).get("json_schema")
    if isinstance(schema, dict):
        schema.setdefault("name", "answer")
    return encode({"model": model, **fields})


def served(answer: bytes) -> list[Served]:
    """The models in an answer of /v1/models. Raises ValueError for what is none."""
    try:
        rows = json.loads(answer)["data"]
        return [Served(str(row["id"])[:300], _context(row)) for row in rows]
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is not a list of models") from error


def _context(row: Mapping[str, Any]) -> int:
    meta = row.get("meta")
    found = [row.get(name) for name in _CONTEXTS] + [meta.get("n_ctx") if isinstance(meta, dict) else None]
    return next((value for value in found if type(value) is int and 0 < value < 1 << 31), 0)
