"""`freehold list` and `freehold show`: of the running server, else of the store."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from freehold.cli.client import ServerError
from freehold.cli.output import count_of, print_json, print_pairs, print_table
from freehold.cli.session import Session, json_option, warn, with_session
from freehold.errors import NotInstalled
from freehold.store.disk import megabytes

if TYPE_CHECKING:
    from freehold.store.catalogue.entry import Entry
    from freehold.store.manifest import Manifest


@dataclass(frozen=True)
class Row:
    """A model for people. `parameters`, `context` (tokens) and `size` (bytes) are 0 where they are not known; `status` and
    `aliases` are only a server's to tell; `tuned` is the day it was measured on how it runs fastest here."""

    name: str
    task: str
    parameters: int
    quantization: str
    context: int
    size: int
    license: str
    source: str
    description: str
    created: int
    status: str = ""
    aliases: tuple[str, ...] = ()
    system: str = ""
    notes: tuple[str, ...] = ()
    tuned: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def from_manifest(manifest: Manifest) -> Row:
    facts = manifest.facts
    return Row(
        name=manifest.name,
        task=manifest.task,
        parameters=facts.parameters if facts else 0,
        quantization=facts.quantization if facts else "",
        context=facts.context_length if facts else 0,
        size=manifest.size,
        license=manifest.license or "",
        source=manifest.source,
        description=manifest.description,
        created=manifest.created,
        system=manifest.system,
        notes=manifest.notes,
    )


def external(session: Session) -> dict[str, Row]:
    """The models of engines elsewhere that the settings name, which is all that can be told of them without a server."""
    from freehold.fleet.remote import remote_of

    named = {name: own for name, own in session.settings.models.items() if own.engine is not None}
    return {
        name: Row(
            *(name, own.task, 0, "", own.context or 0, 0, "", remote_of(own).shown, "", 0),
            status=f"at {remote_of(own).shown}" if own.url else "started when asked for",
        )
        for name, own in named.items()
    }


def from_card(card: Any) -> Row:
    """From what /v1/models says of it; a server of another kind says less."""
    meta = card.get("meta") or {}
    can = card.get("capabilities") or {}
    return Row(
        name=str(card["id"]),
        task=str(card.get("task") or ("embedding" if can.get("embeddings") else "chat")),
        parameters=int(meta.get("n_params") or 0),
        quantization=str(card.get("quantization") or ""),
        context=int(meta.get("n_ctx") or 0),
        size=int(meta.get("size") or 0),
        license=str(card.get("license") or ""),
        source=str(card.get("source") or ""),
        description=str(card.get("description") or ""),
        created=int(card.get("created") or 0),
        status=", ".join(map(str, filter(None, ((card.get("status") or {}).get("value"), _away(card))))),
        aliases=tuple(map(str, card.get("aliases") or ())),
        system=str(card.get("system") or ""),
        notes=tuple(map(str, card.get("notes") or ())),
        tuned=str(card.get("tuned") or ""),
    )


def _away(card: Any) -> str:
    """Where a model is that is not on that machine."""
    return f"at {card['source']}" if card.get("engine") == "external" and card.get("source") != "here" else ""


@click.command(
    epilog="""\b
Examples:
  freehold list
  freehold list --all
  freehold list --json"""
)
@click.option("--all", "everything", is_flag=True, help="Those of Ollama, LM Studio, Hugging Face and llama.cpp, too.")
@json_option
@with_session()
def list_(session: Session, everything: bool, as_json: bool) -> None:
    """List the installed models."""
    server = session.server_if_any()
    if server is not None:
        rows = [from_card(card) for card in server.models(everything)]
    else:
        found, problems = session.found.all() if everything and session.settings.sources.found else ([], [])
        away = external(session)
        rows = [*away.values(), *(from_manifest(each) for each in (*session.store.list(), *found) if each.name not in away)]
        for problem in (*session.store.problems(), *problems):
            warn(str(problem))
    if as_json:
        print_json([row.as_json() for row in rows])
    elif rows:
        print_table(("NAME", "TASK", "PARAMETERS", "FORMAT", "SIZE", "STATUS"), [_cells(row) for row in rows])
    else:
        print("No model is installed. Install one: freehold pull smollm2:135m")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.task,
        count_of(row.parameters) if row.parameters else "",
        row.quantization,
        megabytes(row.size) if row.size else "",
        row.status or "on disk",
    )


@click.command(
    epilog="""\b
Examples:
  freehold show smollm2:135m
  freehold show gpt-4o --json"""
)
@click.argument("model")
@json_option
@with_session()
def show(session: Session, model: str, as_json: bool) -> None:
    """Show all that is known about a model, also about one of the catalogue that is not installed."""
    try:
        row = _installed(session, model)
    except (NotInstalled, ServerError) as error:
        entry = _of_catalogue(session, model, error)
        _show_entry(session, entry, as_json)
        return
    if as_json:
        print_json(row.as_json())
        return
    print_pairs(
        {
            "name": row.name,
            "description": row.description,
            "task": row.task,
            "parameters": count_of(row.parameters) if row.parameters else "",
            "format": row.quantization,
            "context": f"{row.context:,} tokens" if row.context else "",
            "size": megabytes(row.size) if row.size else "",
            "license": row.license,
            "source": row.source,
            "installed": _day(row.created),
            "status": row.status,
            "stands for": ", ".join(row.aliases),
            "tuned": f"on {row.tuned}" if row.tuned else "",
            "system message": row.system,
            "notes": " ".join(row.notes),
        }
    )


def _day(created: int) -> str:
    return f"{datetime.datetime.fromtimestamp(created, datetime.UTC):%Y-%m-%d %H:%M} UTC" if created else ""


def _installed(session: Session, model: str) -> Row:
    server = session.server_if_any()
    if server is not None:
        return from_card(server.model(model))
    if model in (away := external(session)):
        return away[model]
    manifest = session.manifest(model)
    return replace(from_manifest(manifest), tuned=_tuned(session, manifest))


def _tuned(session: Session, manifest: Manifest) -> str:
    """The day the model was tuned on, for this machine and an engine that is here; the machine is probed only if ever."""
    from freehold.hardware.probe import probe
    from freehold.hardware.tuning import everything
    from freehold.routing.planner import Home, Planner

    weights = manifest.file("weights")
    if weights is None or not everything(session.settings.data_dir, weights.identity):
        return ""
    tuned = Planner(session.settings, Home.of(probe(), session.settings)).tuned(manifest)
    return tuned.day if tuned is not None else ""


def _of_catalogue(session: Session, model: str, error: NotInstalled | ServerError) -> Entry:
    """The catalogue's entry of a model that is not installed. Raises the error that said so for a name it does not have."""
    from freehold.store import catalogue

    missing = isinstance(error, NotInstalled) or error.code == "model_not_found"
    entry = catalogue.find(model, session.settings.data_dir) if missing else None
    if entry is None:
        raise error
    return entry


def _show_entry(session: Session, entry: Entry, as_json: bool) -> None:
    from freehold.cli.catalogue import describe, this_machine
    from freehold.routing.cards import cards

    here = this_machine(session)
    if as_json:
        print_json({"installed": False, **cards([entry], here)[0]})
    else:
        describe(entry, here)
