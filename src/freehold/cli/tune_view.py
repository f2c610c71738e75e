"""What `freehold tune` shows: how far it is, the table of candidates, the choice."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.cli.output import print_json, print_table, printable
from freehold.store.disk import megabytes

if TYPE_CHECKING:
    from freehold.fleet.tune.candidates import Aspect, Candidate
    from freehold.fleet.tune.search import Record, Report
    from freehold.hardware.tuning import Speed, Tuned
    from freehold.routing.catalog import Entry
    from freehold.routing.tuner import Tuning

_SECONDS_BETWEEN_LINES = 5.0
_FIGURES: tuple[tuple[Aspect, str], ...] = (
    ("prefill", "READS"),
    ("decode", "WRITES"),
    ("together", "WRITES ×{streams}"),
    ("repeat", "REPEATS"),
    ("busy_prefill", "BUSY: READS"),
    ("busy", "BUSY: WRITES"),
)


@contextlib.contextmanager
def following() -> Iterator[Report]:
    """A bar in a terminal, a line now and then elsewhere; on standard error."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=30), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda what, share: bars.update(task, completed=share, description=f"measuring: {what}")


def _lines() -> Report:
    last = 0.0

    def report(what: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"measuring: {what} ({share:.0%})", file=sys.stderr, flush=True)

    return report


def as_table(entry: Entry, tuning: Tuning) -> None:
    """All candidates with the medians of what was measured, then the choice in a sentence."""
    outcome = tuning.outcome
    rows = sorted(outcome.records.items(), key=lambda item: (item[0] != outcome.chosen, item[0] != outcome.start))
    shown = [(aspect, title) for aspect, title in _FIGURES if any(record.median(aspect) for _, record in rows)]
    streams = entry.deployment.slots
    headers = ("", "THREADS", "BATCH", "POLL", "KV", "FLASH", "SPECULATION", "BUILD")
    titles = tuple(title.format(streams=streams) for _, title in shown)
    print_table(
        (*headers, *titles, "MEMORY"),
        [
            (
                _standing(tuning, candidate, record),
                *_settings(candidate),
                *(_figure(record.median(aspect)) for aspect, _ in shown),
                megabytes(tuning.memory[candidate]) if candidate in tuning.memory else "",
            )
            for candidate, record in rows
        ],
    )
    print("\nTokens a second, medians. THREADS: writing/reading. BUSY: while another program wants each core.")
    for line in _remarks(tuning):
        print(printable(line))


def as_value(entry: Entry, tuning: Tuning, path: Path) -> dict[str, Any]:
    """The same as a table of JSON."""
    outcome, tuned = tuning.outcome, tuning.tuned
    return {
        "model": entry.manifest.name,
        "machine": tuned.machine,
        "engine": tuned.engine,
        "chosen": asdict(outcome.chosen),
        "untuned": asdict(outcome.start),
        "why": tuned.why,
        "ratios": {aspect: round(value, 3) for aspect, value in _ratios(tuning).items()},
        "speed": asdict(tuned.speed),
        "untuned_speed": asdict(tuned.untuned),
        "streams": tuned.streams,
        "noise": round(outcome.noise, 4),
        "not_measured": list(outcome.skipped),
        "candidates": [
            {
                **asdict(candidate),
                **{aspect: record.median(aspect) for aspect, _ in _FIGURES},
                "spread": {aspect: spread for aspect, _ in _FIGURES if (spread := record.spread(aspect))},
                "rounds": len(record.samples),
                "memory": tuning.memory.get(candidate),
                "failure": record.failure or None,
                "answers_differ": record.differs,
            }
            for candidate, record in outcome.records.items()
        ],
        "stages": [
            {"stage": d.stage, "rivals": d.rivals, "changed": d.after != d.before, "ratio": round(d.ratio, 3)}
            for d in outcome.decisions
        ],
        "alternatives": [asdict(alternative) for alternative in tuning.alternatives],
        "kept_in": path.name,
    }


def list_as_table(rows: Sequence[tuple[str, Tuned, bool]]) -> None:
    if not rows:
        print("Nothing is tuned yet: freehold tune MODEL")
        return
    print_table(
        ("MODEL", "MEASURED", "BUILD", "READS", "WRITES", "IN USE", "WHY"),
        [
            (
                name or "(no longer installed)",
                tuned.day,
                tuned.knobs.build,
                _figure(tuned.speed.prefill),
                _figure(tuned.speed.decode),
                "yes" if holds else "no: another machine or engine",
                tuned.why,
            )
            for name, tuned, holds in rows
        ],
    )


def list_as_value(rows: Sequence[tuple[str, Tuned, bool]]) -> None:
    print_json([{"name": name or None, "in_use": holds, **asdict(tuned)} for name, tuned, holds in rows])


def _standing(tuning: Tuning, candidate: Candidate, record: Record) -> str:
    words = []
    if candidate == tuning.outcome.chosen:
        words.append("chosen")
    if candidate == tuning.outcome.start:
        words.append("default")
    if record.failure:
        words.append("does not load")
    if record.differs:
        words.append("answers differ")
    return ", ".join(words)


def _settings(candidate: Candidate) -> tuple[str, ...]:
    knobs = candidate.knobs
    threads, batch = f"{knobs.threads}/{knobs.threads_batch}", f"{knobs.batch}/{knobs.ubatch}"
    return threads, batch, str(knobs.poll), candidate.kv_type, knobs.flash_attention, knobs.speculative, knobs.build


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _remarks(tuning: Tuning) -> Iterator[str]:
    outcome = tuning.outcome
    for record in outcome.records.values():
        if record.failure:
            yield f"Did not load: {record.failure}"
    yield f"Two equal measurements differed by about {outcome.noise:.0%} here; smaller differences were not trusted."
    if outcome.skipped:
        yield f"Not measured, for want of time: {', '.join(outcome.skipped)}."
    for other in tuning.alternatives:
        yield f"{other.name} ({other.quantization}) {_compared(other.speed, other.tuned)} of it; its answers differ."
    yield tuning.tuned.why


def _compared(theirs: Speed, mine: Speed) -> str:
    pairs = (("reads", theirs.prefill, mine.prefill), ("writes", theirs.decode, mine.decode))
    return " and ".join(f"{verb} at {a / b:.2f}×" for verb, a, b in pairs if a and b)


def _ratios(tuning: Tuning) -> dict[str, float]:
    from freehold.fleet.tune.summary import ratios

    return {str(aspect): value for aspect, value in ratios(tuning.outcome).items()}
