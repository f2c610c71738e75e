"""Calls to engines of other makers: bodies as OpenAI's API has them, and the list of models that one serves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from freehold.errors import InvalidRequest
from freehold.protocol.plan import encode
from freehold.protocol.shape import tellable

Kind = Literal["vllm", "sglang", "tensorrt-llm", "llama.cpp", "freehold", ""]

_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
_OWN = frozenset({"timings_per_token", "return_progress"})  # what llama.cpp alone is told, and nobody asked for
_OPENAI = frozenset(
    {
        *("messages", "prompt", "input", "encoding_format", "dimensions", "stream", "stream_options", "max_tokens"),
        *("temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs"),
        *("top_logprobs", "response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"),
    }
)
# What servers write into `owned_by` of the models that they list.
_OWNERS: Mapping[str, Kind] = MappingProxyType(
    {"vllm": "vllm", "sglang": "sglang", "tensorrt_llm": "tensorrt-llm", "llamacpp": "llama.cpp", "freehold": "freehold"}
)
_TITLES: Mapping[Kind, str] = MappingProxyType(
    {"vllm": "vLLM", "sglang": "SGLang", "tensorrt-llm": "TensorRT-LLM", "": "An external engine of unknown kind"}
)
_CONTEXTS = ("max_model_len", "context_length", "max_context_length")
_LONGEST_NAME = 300
_MOST_VIA = 16  # servers that a request may pass through


@dataclass(frozen=True)
class Served:
    """A model that an engine serves; `context` is tokens, 0 where it does not say; `via` are the Freehold servers that a
    request for it passes through, by their numbers."""

    name: str
    context: int
    kind: Kind = ""
    via: tuple[str, ...] = ()


def outgoing(path: str, body: bytes, model: str, context: int, kind: Kind) -> bytes:
    """The body of a call as an engine of that kind takes it. A limit of the whole context is no limit, and some engines take it
    for a request of so many tokens beside the prompt: it is left out.

    Raises InvalidRequest for what such an engine cannot be asked.
    """
    if path not in _PATHS:
        raise InvalidRequest(
            f"{path} is not there for models of an external engine.", param="model", code="unsupported_parameter"
        )
    fields: dict[str, Any] = {name: value for name, value in json.loads(body).items() if name not in _OWN}
    if path == "/v1/completions" and "logprobs" in fields:
        raise _refused("logprobs", "An external engine")  # of which no two give the same shape
    translated: dict[str, Any] = {}
    for name, value in fields.items():
        translated |= _translated(name, value, context, kind)
    if translated.get("max_tokens", 0) >= context:
        del translated["max_tokens"]
    schema = (translated.get("response_format") or {}).get("json_schema")
    if isinstance(schema, dict):
        schema.setdefault("name", "answer")
    return encode({"model": model, **translated})


def _translated(name: str, value: Any, context: int, kind: Kind) -> dict[str, Any]:
    """One field as that kind of engine has it; none where it asks for nothing."""
    if name == "logit_bias" and isinstance(value, list):
        return {name: {str(token): -100 if bias is False else bias for token, bias in value}}
    if name in _OPENAI:
        return {name: value}
    if kind in ("freehold", "llama.cpp"):
        return {name: value}
    if (name, value) == ("cache_prompt", True) or (name == "repeat_last_n" and value >= context):
        return {}  # what they do anyway
    if rename := _EXTRAS.get(kind, {}).get(name):
        return rename(value)
    raise _refused(name, _TITLES[kind])


def _refused(name: str, who: str) -> InvalidRequest:
    return InvalidRequest(
        f"Unsupported parameter: '{name}'. {who} cannot be asked for it here; leave it out.",
        param=name,
        code="unsupported_parameter",
    )


# What of llama.cpp's fields others have too: the same filters of the likeliest tokens, by other names and with another "off".
_ALIKE: Mapping[str, Callable[[Any], dict[str, Any]]] = MappingProxyType(
    {
        "top_k": lambda value: {"top_k": value or -1},
        "min_p": lambda value: {"min_p": value},
        "repeat_penalty": lambda value: {"repetition_penalty": value},
    }
)
_EXTRAS: Mapping[Kind, Mapping[str, Callable[[Any], dict[str, Any]]]] = MappingProxyType(
    {"vllm": _ALIKE, "sglang": _ALIKE, "tensorrt-llm": {**_ALIKE, "top_k": lambda value: {"top_k": value}}}
)


def served(answer: bytes) -> list[Served]:
    """The models in an answer of /v1/models, each name once. Raises ValueError for what is none."""
    found: dict[str, Served] = {}
    try:
        for row in map(_served, json.loads(answer)["data"]):
            if len(row.name) <= _LONGEST_NAME and tellable(row.name):
                found.setdefault(row.name, row)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is not a list of models") from None
    return list(found.values())


def _served(row: Mapping[str, Any]) -> Served:
    kind, via = _OWNERS.get(str(row.get("owned_by")), ""), row.get("via")
    numbers = tuple(map(_number, via[:_MOST_VIA])) if kind == "freehold" and isinstance(via, list) else ()
    return Served(str(row["id"]), _context(row), kind, numbers)


def _number(said: Any) -> str:
    """A server's number, which is told on: of letters that can be."""
    return str(said)[:64].encode("ascii", "replace").decode("ascii")


def _context(row: Mapping[str, Any]) -> int:
    meta = row.get("meta")
    found = [row.get(name) for name in _CONTEXTS] + [meta.get("n_ctx") if isinstance(meta, dict) else None]
    return next((value for value in found if type(value) is int and 0 < value < 1 << 31), 0)
