"""A search's outcome in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

from freehold.fleet.tune.candidates import Aspect, Candidate
from freehold.fleet.tune.search import Outcome

_GAINS: Mapping[Aspect, str] = MappingProxyType(
    {
        "prefill": "reads",
        "decode": "writes",
        "together": "several at once",
        "busy_prefill": "reads on a busy machine",
        "busy": "writes on a busy machine",
    }
)
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "threads": "threads",
        "threads_batch": "prompt threads",
        "batch": "batch",
        "ubatch": "physical batch",
        "poll": "polling",
        "flash_attention": "flash attention",
        "speculative": "speculation",
        "build": "engine build",
    }
)


def sentence(outcome: Outcome) -> str:
    """What was chosen, and why, for people."""
    if outcome.chosen == outcome.start:
        return "The defaults are as good here as anything that was tried."
    changes = ", ".join(_changes(outcome.start, outcome.chosen))
    gains = ", ".join(f"{_GAINS[aspect]} {ratio:.2f}×" for aspect, ratio in ratios(outcome).items())
    return f"Chosen: {changes}; against the defaults: {gains}."


def ratios(outcome: Outcome) -> Mapping[Aspect, float]:
    """Chosen against untuned, by aspect, from the comparison at the end."""
    before, after = outcome.final[outcome.start], outcome.final[outcome.chosen]
    return {aspect: after[aspect] / before[aspect] for aspect in before}


def _changes(before: Candidate, after: Candidate) -> list[str]:
    old, new = asdict(before.knobs), asdict(after.knobs)
    found = [f"{label} {new[name]} instead of {old[name]}" for name, label in _NAMES.items() if new[name] != old[name]]
    if before.kv_type != after.kv_type:
        found.append(f"KV cache in {after.kv_type} instead of {before.kv_type}")
    return found
