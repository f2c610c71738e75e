"""Entries of the catalogue as JSON, for the API and for `--json`; and the choice of those that are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from freehold.hardware.fit import Plan
from freehold.routing.advice import Advice, Candidate, Here, assess
from freehold.store.catalogue.entry import Entry, Task, Variant


def select(entries: Iterable[Entry], search: str = "", task: Task | None = None) -> list[Entry]:
    """Those that do the task, and in whose name, title, family, tasks, licence or line every searched word occurs."""
    words = search.lower().split()
    return [entry for entry in entries if (task is None or task in entry.tasks) and all(word in _text(entry) for word in words)]


def _text(entry: Entry) -> str:
    parts = (entry.name, *entry.aliases, entry.title, entry.license, *entry.tasks, entry.good_for)
    return " ".join(parts).lower()


def card(entry: Entry, candidate: Candidate | None = None) -> dict[str, Any]:
    """All that is known of a model. `fits` is how its chosen variant would run, None where nobody asked or nobody knows."""
    return {
        "name": entry.name,
        "family": entry.family,
        "aliases": entry.aliases,
        "title": entry.title,
        "license": entry.license,
        "parameters": entry.parameters,
        "active_parameters": entry.active,
        "context_length": entry.context or None,
        "input_modalities": entry.input,
        "output_modalities": entry.output,
        "tasks": entry.tasks,
        "good_for": entry.good_for,
        "url": entry.url,
        "engine": entry.engine,
        "served": entry.served,
        "quality": dict(entry.quality),
        "origin": entry.origin,
        "architecture": asdict(entry.architecture) if entry.architecture else None,
        "default_quantization": entry.variant.quantization,
        "variants": [_variant(entry, variant) for variant in entry.variants],
        "fits": outcome(candidate) if candidate else None,
    }


def _variant(entry: Entry, variant: Variant) -> dict[str, Any]:
    size = entry.size(variant)
    return {
        "quantization": variant.quantization,
        "size": size.bytes if size else None,
        "size_estimated": size.estimated if size else None,
        "trust": variant.trust,
        "note": variant.standing,
        "files": [asdict(file) for file in variant.files],
    }


def outcome(candidate: Candidate) -> dict[str, Any]:
    """A candidate's plan, or why there is none; figures are estimates."""
    speed = asdict(candidate.speed) if candidate.speed else None
    if not isinstance(candidate.outcome, Plan):
        misfit = candidate.outcome
        return {"fits": False, "reason": misfit.reason, "needed": misfit.needed_bytes, "free": dict(misfit.free_bytes)}
    plan = candidate.outcome
    return {
        "fits": True,
        "context": plan.context,
        "slots": plan.slots,
        "kv_type": plan.kv_type,
        "gpu_layers": plan.gpu_layers,
        "memory": [asdict(share) for share in plan.memory],
        "notes": plan.notes,
        "speed": speed,
    }


def cards(entries: Iterable[Entry], here: Here | None = None, fitting: bool = False) -> list[dict[str, Any]]:
    """Cards of entries; with `here` each says how it would run, and `fitting` leaves out what would not."""
    rows = []
    for entry in entries:
        candidate = assess(entry, entry.variant, here) if here and entry.served else None
        if not fitting or (candidate and candidate.fits):
            rows.append(card(entry, candidate))
    return rows


def advice_card(advice: Advice) -> dict[str, Any]:
    """A recommendation: `pick` is None when nothing fits."""

    def named(candidate: Candidate | None) -> dict[str, Any] | None:
        return {"pull": candidate.name, **card(candidate.entry, candidate)} if candidate else None

    return {
        "task": advice.task,
        "pick": named(advice.pick),
        "faster": named(advice.faster),
        "better": [{"why_not": why, **(named(candidate) or {})} for candidate, why in advice.better],
        "notes": advice.notes,
    }
