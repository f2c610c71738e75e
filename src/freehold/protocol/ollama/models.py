"""Models as Ollama's clients read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

API_VERSION = "0.12.6"  # of Ollama, whose api/types.go these shapes are those of
_FOR_EVER = "2318-01-01T00:00:00Z"  # what Ollama tells of a model that does not leave by itself
_UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))


def details(card: Mapping[str, Any], family: str) -> dict[str, Any]:
    """`card` is OpenAI's description (`models.model_card`), `family` the architecture that the file names."""
    return {
        "parent_model": "",
        "format": "gguf" if card["engine"] == "llama.cpp" else "",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": parameter_size(card["meta"]["n_params"]),
        "quantization_level": card["quantization"] or "",
    }


def parameter_size(count: int) -> str:
    """134515008 as "134.52M"."""
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:.2f}".rstrip("0").rstrip(".") + unit
    return str(count)


def moment(seconds: float | None) -> str:
    """Unix time as a client reads it; None is never."""
    return _FOR_EVER if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# Clients look for that word in a template before they send a suffix. This is a comment: no template has a part in it here.
FILLS_IN = "{#- /api/generate fills in before a .Suffix -#}"


def capabilities(able: Mapping[str, bool], thinks: bool) -> list[str]:
    names = (
        *(("chat", "completion"), ("tools", "tools"), ("vision", "vision"), ("embeddings", "embedding")),
        *(("fim", "insert"), ("fim_by_chat", "insert")),
    )
    return [*(theirs for ours, theirs in names if able.get(ours)), *(["thinking"] if thinks else [])]


def parameter_lines(sampling: Mapping[str, Any], context: Any) -> str:
    """A model's parameters, one a line, as `ollama show` prints them."""
    rows: list[tuple[str, Any]] = []
    for name, value in sampling.items():
        rows += [(name, item) for item in (value if isinstance(value, tuple | list) else (value,))]
    if context:
        rows.append(("num_ctx", context))
    return "\n".join(f'{name:<30} "{value}"' if isinstance(value, str) else f"{name:<30} {value:g}" for name, value in rows)


def modelfile_of(name: str, template: str, system: str, parameters: str, examples: Sequence[tuple[str, str]]) -> str:
    """A Modelfile that makes the same model."""
    parts = [f"FROM {name}"]
    if template:
        parts.append(f'TEMPLATE """{template}"""')
    if system:
        parts.append(f'SYSTEM """{system}"""')
    parts += ["PARAMETER " + " ".join(line.split(None, 1)) for line in parameters.splitlines()]
    parts += [f'MESSAGE {role} """{content}"""' for role, content in examples]
    return "\n".join(parts) + "\n"
