"""Engines' errors as Freehold's: each mapped by what it means, none relayed as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from freehold.errors import (
    ContextLengthExceeded,
    EngineBadResponse,
    EngineTimeout,
    FreeholdError,
    InvalidRequest,
    ModelFailed,
    PayloadTooLarge,
    QueueFull,
)

# What it says of a text that does not fit the batch in which an embedding is computed, which is as large as the context.
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is (?:too large|larger).*?batch size: (\d+)")
# What vLLM, SGLang, TensorRT-LLM and hosted models say of a prompt that does not fit.
_LENGTH = re.compile(
    r"context (?:length|size|window|limit)|max_seq_len|max_model_len|prompt (?:length|is too long)|maximum prompt length", re.I
)
_PATH = re.compile(r"(?:[A-Za-z]:)?[/\\][\w./\\-]+|0x[0-9a-fA-F]+")


def from_engine(status: int, body: bytes, *, param: str, constraint: str) -> FreeholdError:
    """What an error answer of llama.cpp means. `param` is the request's field that holds the prompt, `constraint` the one that
    the answer's grammar was made from."""
    error = _error(body)
    kind, message = str(error.get("type", "")), str(error.get("message", ""))
    if error.get("type") == "exceed_context_size_error":
        return _too_long(error.get("n_prompt_tokens"), error.get("n_ctx"), param)
    if found := _TOO_LARGE.search(message):
        return _too_long(found[1], found[2], param)
    if kind == "unavailable_error":
        return ModelFailed("The model is still loading; try again shortly.", retry_after=2.0)
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, message, re.IGNORECASE):
            return meaning(message, param, constraint)
    if 400 <= status < 500 and message:
        return InvalidRequest(f"The model's engine refuses the request: {_reason(message)}", code="invalid_value")
    return EngineBadResponse("The model's engine met an error and could not answer.")


def from_external(status: int, body: bytes, *, param: str, retry_after: float | None = None) -> FreeholdError:
    """What an error answer of an engine of another maker means; `retry_after` is what it says of that, in seconds."""
    error = _error(body)
    message = str(error.get("message") or error.get("detail") or "")
    if 400 <= status < 500 and (error.get("code") == "context_length_exceeded" or _LENGTH.search(message)):
        return ContextLengthExceeded(_reason(message or "The prompt is longer than the model's context"), param=param)
    if (known := _EXTERNAL.get(status)) is not None:
        return known(retry_after)
    if status == 503:
        why = f": {_reason(message)}" if message else "; try again shortly."
        return ModelFailed(f"The external engine cannot answer now{why}", retry_after=retry_after or 2.0)
    if 400 <= status < 500 and message:
        about = error.get("param")
        field = about if isinstance(about, str) and about.isprintable() and len(about) <= 100 else None
        return InvalidRequest(f"The external engine refuses the request: {_reason(message)}", param=field, code="invalid_value")
    if 300 <= status < 400:
        return EngineBadResponse("The external engine sends requests on to another address, which is not done: mend its url.")
    return EngineBadResponse(f"The external engine met an error and could not answer (status {status}).")


def in_stream(error: Mapping[str, Any], *, external: bool, param: str, constraint: str) -> FreeholdError:
    """What an error means that came instead of a chunk."""
    code = error.get("code")
    status = code if type(code) is int and 400 <= code < 600 else 500
    body = json.dumps({"error": error}).encode()
    if external:
        return from_external(status, body, param=param)
    return from_engine(status, body, param=param, constraint=constraint)


def _error(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = value.get("error", value) if isinstance(value, dict) else None  # vLLM's older versions have no envelope
    return error if isinstance(error, dict) else {}


def _too_long(length: Any, limit: Any, param: str) -> ContextLengthExceeded:
    return ContextLengthExceeded(
        f"This model's maximum context length is {limit} tokens. However, your {param} resulted in {length} tokens. "
        f"Please reduce the length of the {param}.",
        param=param,
    )


def _reason(message: str) -> str:
    """The telling end of an engine's sentence, short, without addresses or paths."""
    text = "".join(letter for letter in _PATH.sub("…", message) if letter.isprintable())
    return text[:200].rstrip(". ") + "."


Meaning = Callable[[str, str, str], FreeholdError]


def _prompt(sentence: str) -> Meaning:
    """Something about the prompt."""
    return lambda message, param, constraint: InvalidRequest(sentence, param=param, code="invalid_value")


def _constraint(message: str, param: str, constraint: str) -> FreeholdError:
    """Something about what the answer is held to."""
    if constraint == "grammar":
        text = "The grammar cannot be parsed."
    elif (reason := message.rpartition("JSON schema")[2]) != message:
        text = f"The JSON schema cannot be followed: {_reason(reason).lstrip(': ')}"
    else:
        text = "The JSON schema cannot be followed."
    return InvalidRequest(text, param=constraint, code="invalid_value")


_MEANINGS: tuple[tuple[str, Meaning], ...] = (
    (r"schema|grammar|samplers", _constraint),
    (r"invalid tokens", _prompt("The prompt has token ids that this model does not have.")),
    (r"failed to load image", _prompt("An image cannot be decoded: it is damaged or incomplete.")),
    (r"image|audio input|mmproj", _prompt("This model takes text only.")),
    (r"template|jinja", _prompt("The model's chat template does not accept this conversation.")),
    (
        r"tokeniz",
        _prompt("The prompt cannot be turned into tokens: its text, or an image of a size that this model cannot see."),
    ),
)

# What statuses of engines of other makers mean, from the seconds after which they would be asked again.
_EXTERNAL: Mapping[int, Callable[[float | None], FreeholdError]] = MappingProxyType(
    {
        401: lambda after: EngineBadResponse("The external engine does not take the key that this server has for it."),
        403: lambda after: EngineBadResponse("The external engine does not let this server in."),
        404: lambda after: ModelFailed("The external engine has no such model, or no such route.", retry_after=after or 5.0),
        408: lambda after: EngineTimeout("The external engine did not answer in time."),
        413: lambda after: PayloadTooLarge("The external engine does not take a request of this size."),
        429: lambda after: QueueFull("The external engine is busy; try again shortly.", retry_after=after or 2.0),
        504: lambda after: EngineTimeout("The external engine did not answer in time."),
    }
)
