"""Ollama's parameters of a model, in Freehold's words (api/types.go and docs/modelfile.md in ollama/ollama)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

MOST_STOPS = 16

# name there → (name here, least, largest); the ranges are those of the API
_SAMPLING: Mapping[str, tuple[str, float, float]] = MappingProxyType(
    {
        "temperature": ("temperature", 0, 2),
        "top_p": ("top_p", 0, 1),
        "top_k": ("top_k", 0, 1_000_000),
        "min_p": ("min_p", 0, 1),
        "typical_p": ("typical_p", 0, 1),
        "repeat_penalty": ("repeat_penalty", 0.01, 10),
        "repeat_last_n": ("repeat_last_n", -1, 1_000_000),
        "presence_penalty": ("presence_penalty", -2, 2),
        "frequency_penalty": ("frequency_penalty", -2, 2),
        "mirostat": ("mirostat", 0, 2),
        "mirostat_tau": ("mirostat_tau", 0, 100),
        "mirostat_eta": ("mirostat_eta", 0, 1),
        "seed": ("seed", -(2**31), 2**31),
    }
)
_WHOLE = frozenset({"top_k", "repeat_last_n", "mirostat", "seed"})


@dataclass(frozen=True)
class Parameters:
    """`sampling` are defaults of requests, `options` what the engine is told; `notes` name what is not honoured."""

    sampling: Mapping[str, float | tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def parameters(data: Any) -> Parameters:
    """What a params layer says. Never raises: a value that makes no sense is named, and left out."""
    if not isinstance(data, dict):
        return Parameters(notes=("Its parameters cannot be read and are not used.",))
    sampling: dict[str, float | tuple[str, ...]] = {}
    options: dict[str, Any] = {}
    left = []
    for name, value in data.items():
        if name in _SAMPLING and (number := _number(name, value)) is not None:
            sampling[_SAMPLING[name][0]] = number
        elif name == "stop" and (stops := _stops(value)):
            sampling["stop"] = stops
        elif name == "num_ctx" and type(value) is int and 128 <= value <= 1 << 24:
            options["context"] = value
        else:
            left.append(ascii(name)[1:-1][:40])
    notes = (f"Not honoured of its parameters: {', '.join(sorted(left)[:20])}.",) if left else ()
    return Parameters(sampling, options, notes)


def _number(name: str, value: Any) -> float | None:
    _, least, largest = _SAMPLING[name]
    if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= largest:
        return None
    if name in _WHOLE:
        return int(value) if value == int(value) else None
    return float(value)


def _stops(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(item, str) and 0 < len(item) <= 1000 for item in given):
        return ()
    return tuple(dict.fromkeys(given)) if len(set(given)) <= MOST_STOPS else ()


def number_of(text: str) -> float:
    """A number as a Modelfile writes it. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        return float(text)
