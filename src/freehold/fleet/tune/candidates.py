"""What a search may try: each stage changes one thing about how a model is run, and says what that thing is measured by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from freehold.hardware.plan import Knobs, KvType, Speculative

# What is measured, each in tokens a second (freehold.hardware.tuning.Speed says what they are); "repeat" is writing what
# stood in the prompt before, which is where guessing ahead pays.
Aspect = Literal["prefill", "decode", "together", "busy_prefill", "busy", "repeat"]

# A candidate must keep this share of the best speed of all when other programs want every core.
STEADY = 0.8
# Guessing ahead must not cost more than this on text where guesses fail.
_HARMLESS = 0.97


@dataclass(frozen=True)
class Candidate:
    """A way to run a model."""

    knobs: Knobs
    kv_type: KvType = "f16"


Rivals = Callable[[Candidate], Sequence[Candidate]]


@dataclass(frozen=True)
class Stage:
    """One thing to vary. `aspects` are measured; those in `guards` are no part of the score, but a candidate that has less than
    that share of the best is out. With `same_answers`, a candidate whose answers differ is out, too."""

    name: str
    rivals: Rivals
    aspects: tuple[Aspect, ...]
    guards: Mapping[Aspect, float] = field(default_factory=dict)
    same_answers: bool = False


@dataclass(frozen=True)
class Field:
    """What there is to choose from: cores this process may use (0 where the number of threads is settled), builds by name,
    whether a draft model is there, whether answers may get worse for speed, how thorough to be, and the tokens of the longest
    prompt that is measured."""

    cores: int
    builds: tuple[str, ...] = ()
    draft: bool = False
    lossy: bool = False
    embedding: bool = False
    effort: Literal["quick", "default", "full"] = "default"
    prompt: int = 512


def stages(of: Field) -> tuple[Stage, ...]:
    """The stages of a search, those that are worth most first."""
    return _embedding_stages(of) if of.embedding else _chat_stages(of)


def _chat_stages(of: Field) -> tuple[Stage, ...]:
    cores, batch = counts(of.cores), _batches(of)
    busy: Mapping[Aspect, float] = MappingProxyType({"busy": STEADY})
    busy_prefill: Mapping[Aspect, float] = MappingProxyType({"busy_prefill": STEADY})
    harmless: Mapping[Aspect, float] = MappingProxyType({"decode": _HARMLESS})
    found = [
        Stage("engine build", _vary("build", of.builds), ("prefill", "decode", "together", "busy"), busy),
        Stage("threads", _vary("threads", cores), ("decode", "together", "busy"), busy),
        Stage("prompt threads", _vary("threads_batch", cores), ("prefill", "busy_prefill"), busy_prefill),
        Stage("speculation", _vary("speculative", _guesses(of)), ("repeat", "decode"), harmless, same_answers=True),
        Stage("polling", _vary("poll", (0, 50)), ("prefill", "decode", "busy"), busy),
    ]
    if of.effort != "quick":
        found += [
            Stage("flash attention", _flash, ("prefill", "decode")),
            Stage("batch", _vary("ubatch", batch), ("prefill",), same_answers=True),
        ]
    if of.lossy:
        found.append(Stage("KV cache", _kv_types(of), ("prefill", "decode", "together")))
    return tuple(found)


def _embedding_stages(of: Field) -> tuple[Stage, ...]:
    """A model that only embeds reads and does not write; its batch is as long as its longest text."""
    aspects: tuple[Aspect, ...] = ("prefill", "together", "busy_prefill")
    steady: Mapping[Aspect, float] = MappingProxyType({"busy_prefill": STEADY})
    found = [
        Stage("engine build", _vary("build", of.builds), aspects, steady),
        Stage("threads", lambda now: [_with_threads(now, count) for count in counts(of.cores)], aspects, steady),
        Stage("polling", _vary("poll", (0, 50)), aspects, steady),
    ]
    if of.effort != "quick":
        found.append(Stage("flash attention", _flash, ("prefill", "together")))
    return tuple(found)


def counts(cores: int) -> tuple[int, ...]:
    """Numbers of threads worth trying: all cores, one less, three quarters, half, and one; none of no cores."""
    found = {cores, cores - 1, cores * 3 // 4, cores // 2, 1} if cores else set()
    return tuple(sorted(found - {0}, reverse=True))


def _vary(knob: str, values: Iterable[int | str]) -> Rivals:
    def rivals(now: Candidate) -> Sequence[Candidate]:
        others = (value for value in values if value != getattr(now.knobs, knob))
        return [replace(now, knobs=replace(now.knobs, **{knob: value})) for value in others]  # type: ignore[arg-type]

    return rivals


def _with_threads(now: Candidate, count: int) -> Candidate:
    return replace(now, knobs=replace(now.knobs, threads=count, threads_batch=count))


def _flash(now: Candidate) -> Sequence[Candidate]:
    """A quantised cache of values is read by flash attention alone."""
    if now.kv_type not in ("f16", "bf16", "f32"):
        return []
    return [replace(now, knobs=replace(now.knobs, flash_attention="off"))]


def _guesses(of: Field) -> tuple[Speculative, ...]:
    return ("none", "ngram-simple", "ngram-mod", *(("draft",) if of.draft else ()))


def _batches(of: Field) -> tuple[int, ...]:
    """Physical batches that the measured prompts can tell apart."""
    return tuple(size for size in (64, 128, 256, 1024, 2048) if size < of.prompt and (of.effort == "full" or size >= 128))


def _kv_types(of: Field) -> Rivals:
    lossy: tuple[KvType, ...] = ("q8_0", "q4_0") if of.effort == "full" else ("q8_0",)

    def rivals(now: Candidate) -> Sequence[Candidate]:
        if now.knobs.flash_attention == "off":
            return []
        return [replace(now, kv_type=kv_type) for kv_type in lossy if kv_type != now.kv_type]

    return rivals
