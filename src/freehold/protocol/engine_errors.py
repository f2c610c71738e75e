"""llama.cpp's errors as Freehold's: each mapped by what it means, none relayed as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from freehold.errors import ContextLengthExceeded, EngineBadResponse, FreeholdError, InvalidRequest, ModelFailed, QueueFull

# What it says of a text that does not fit the batch in which an embedding is computed, which is as large as the context.
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is (?:too large|larger).*?batch size: (\d+)")
_PATH = re.compile(r"(?:[A-Za-z]:)?[/\\][\w./\\-]+|0x[0-9a-fA-F]+")


def from_engine(status: int, body: bytes, *, param: str, constraint: str) -> FreeholdError:
    """What an error answer of the engine means. `param` is the request's field that holds the prompt, `constraint` the one that
    the answer's grammar was made from."""
    error = _error(body)
    kind, message = str(error.get("type", "")), str(error.get("message", ""))
    if too_long := _length(error, message, param):
        return too_long
    if status in _REMOTE:
        return _REMOTE[status]()
    if kind == "unavailable_error":
        return ModelFailed("The model is still loading; try again shortly.", retry_after=2.0)
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, message, re.IGNORECASE):
            return meaning(message, param, constraint)
    if 400 <= status < 500 and message:
        return InvalidRequest(f"The model's engine refuses the request: {_reason(message)}", code="invalid_value")
    return EngineBadResponse("The model's engine met an error and could not answer.")


def _error(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = value.get("error", value) if isinstance(value, dict) else None  # vLLM's older versions have no envelope
    return error if isinstance(error, dict) else {}


def _length(error: Mapping[str, Any], message: str, param: str) -> FreeholdError | None:
    """What is said of a prompt that does not fit: by llama.cpp in two ways, by other engines in OpenAI's."""
    if error.get("type") == "exceed_context_size_error":
        return _too_long(error.get("n_prompt_tokens"), error.get("n_ctx"), param)
    if found := _TOO_LARGE.search(message):
        return _too_long(found[1], found[2], param)
    if error.get("code") == "context_length_exceeded" or "maximum context length" in message:
        return ContextLengthExceeded(_reason(message), param=param)
    return None


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

# What only an engine that runs elsewhere answers, and what that is to a client of this server.
_REMOTE: Mapping[int, Callable[[], FreeholdError]] = MappingProxyType(
    {
        401: lambda: EngineBadResponse("The external engine does not take the key that this server has for it."),
        403: lambda: EngineBadResponse("The external engine does not let this server in."),
        429: lambda: QueueFull("The external engine is busy; try again shortly.", retry_after=2.0),
    }
)
