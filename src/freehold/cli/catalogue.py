"""`freehold models`: the catalogue as a table; and what `freehold show` says of a model that is not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from freehold.cli.output import count_of, gibibytes, print_json, print_pairs, print_table
from freehold.cli.session import Session, json_option, with_session
from freehold.store.catalogue.entry import TASKS, Entry, Task
from freehold.store.disk import megabytes

if TYPE_CHECKING:
    from freehold.routing.advice import Candidate, Here

HEADERS = ("NAME", "PARAMETERS", "SIZE", "CONTEXT", "TASKS", "LICENSE", "FILES", "FITS", "GOOD FOR")


@click.command(
    epilog="""\b
Examples:
  freehold models
  freehold models qwen --fits
  freehold models --task vision --json"""
)
@click.argument("search", nargs=-1)
@click.option("--task", type=click.Choice(TASKS), help="Only models for this.")
@click.option("--fits", is_flag=True, help="Only models that this machine's memory holds.")
@json_option
@with_session("used")
def models(session: Session, search: tuple[str, ...], task: Task | None, fits: bool, as_json: bool) -> None:
    """List the models of the catalogue: what they are good for, and whether they fit here."""
    from freehold.routing.cards import cards, select
    from freehold.store import catalogue

    entries = select(catalogue.all(session.settings.data_dir), " ".join(search), task)
    here = this_machine(session)
    if as_json:
        print_json(cards(entries, here, fits))
        return
    rows = [(entry, _assessed(entry, here)) for entry in entries]
    shown = [_cells(entry, found) for entry, found in rows if not fits or (found and found.fits)]
    if shown:
        print_table(HEADERS, shown)
        print("\nSizes with ~ are estimates. All about one: freehold show NAME. What to take: freehold recommend.")
    else:
        print("No model of the catalogue is like that.")


def this_machine(session: Session, speeds: bool = False) -> Here:
    """The machine, with the memory that a running server has for its models: those loaded make room."""
    from freehold.hardware.probe import probe
    from freehold.routing.here import look
    from freehold.routing.planner import Home

    return look(Home.of(probe(), session.settings).within(served_budget(session)), session.settings, speeds)


def served_budget(session: Session) -> dict[str, int]:
    """Bytes by device that the server on this machine has for all its models; empty without one."""
    from freehold.cli.client import NoServer, ServerError

    if session.url:
        return {}
    try:
        memory = session.server().get("/api/ps")["memory"]
        return {str(row["device"]): int(row["budget_bytes"]) for row in memory}
    except (NoServer, ServerError, KeyError, TypeError, ValueError):
        return {}


def _assessed(entry: Entry, here: Here) -> Candidate | None:
    from freehold.routing.advice import assess

    return assess(entry, entry.variant, here) if entry.served else None


def _cells(entry: Entry, found: Candidate | None) -> tuple[str, ...]:
    active = f", {count_of(entry.active)} active" if entry.active else ""
    return (
        entry.name,
        f"{count_of(entry.parameters)}{active}",
        size_of(entry),
        f"{entry.context:,}" if entry.context else "",
        ", ".join(entry.tasks),
        entry.license,
        entry.variant.trust,
        fit_of(entry, found),
        entry.good_for,
    )


def size_of(entry: Entry) -> str:
    """The chosen variant's files: "4.9 GB", "~4.9 GB" when that is an estimate, "" when not even that is known."""
    size = entry.size()
    return "" if size is None else ("~" if size.estimated else "") + megabytes(size.bytes)


def fit_of(entry: Entry, found: Candidate | None) -> str:
    """ "yes", "yes, 4,096 tokens" when memory shortens the context, "no", or that it is not served."""
    from freehold.hardware.plan import Plan
    from freehold.routing.advice import has_room

    if not entry.served:
        return "not served"
    if found is None:
        return ""
    if isinstance(found.outcome, Plan):
        return "yes" if has_room(found) or not found.outcome.context else f"yes, {found.outcome.context:,} tokens"
    return "no"


def describe(entry: Entry, here: Here) -> None:
    """A catalogue's entry for people; its model is not installed."""
    found = _assessed(entry, here)
    quantizations = ", ".join(
        f"{variant.quantization}{' (default)' if variant is entry.variants[0] else ''}" for variant in entry.variants
    )
    print_pairs(
        {
            "name": entry.name,
            "title": entry.title,
            "installed": "no",
            "good for": entry.good_for,
            "tasks": ", ".join(entry.tasks),
            "parameters": count_of(entry.parameters) + (f", {count_of(entry.active)} for each token" if entry.active else ""),
            "context": f"{entry.context:,} tokens" if entry.context else "",
            "format": entry.variant.quantization,
            "formats": quantizations,
            "size": size_of(entry),
            "license": entry.license,
            "from": ", ".join(file.reference for file in entry.variant.files[:2])
            + (f" and {len(entry.variant.files) - 2} more" if len(entry.variant.files) > 2 else ""),
            "digests": entry.variant.standing,
            "model page": entry.url,
            "fits here": fits_here(found) if entry.served else "",
            "install it": entry.unserved or f"freehold pull {entry.installed_name}",
        }
    )


def fits_here(found: Candidate | None) -> str:
    """Memory and context of a plan, or why there is none."""
    from freehold.hardware.plan import Plan
    from freehold.routing.advice import memory_of

    if found is None:
        return "not known: its size is not"
    if not isinstance(found.outcome, Plan):
        return f"no. {found.outcome.reason}"
    plan = found.outcome
    room = f" for {plan.slots} × {plan.context:,} tokens" if plan.context else ""
    return f"yes: about {gibibytes(memory_of(found))}{room}"
