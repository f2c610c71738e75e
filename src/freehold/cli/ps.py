"""`freehold ps`."""

from __future__ import annotations

from typing import Any

import click

from freehold.cli.output import duration, gibibytes, print_json, print_table
from freehold.cli.session import Session, json_option, with_session


@click.command(
    epilog="""\b
Examples:
  freehold ps
  freehold ps --url http://192.168.1.5:8080 --json"""
)
@json_option
@with_session("none")
def ps(session: Session, as_json: bool) -> None:
    """List the workers of the running server."""
    answer = session.server().get("/api/ps")
    workers = answer["workers"]
    if as_json:
        print_json(workers)
    elif workers:
        headers = ("MODEL", "ENGINE", "BUILD", "TUNED", "STATE", "BUSY", "QUEUED", "CONTEXT", "MEMORY", "PID", "UP", "NETWORK")
        print_table(headers, [_cells(worker) for worker in workers])
        for worker in workers:
            if worker["reason"]:  # a sentence, too long for a column
                print(f"{worker['model']}: {worker['reason']}")
        for place in answer.get("memory", ()):
            planned, budget = gibibytes(place["planned_bytes"]), gibibytes(place["budget_bytes"])
            print(f"{place['device']}: {planned} of {budget} planned")
    else:
        print("No model is loaded; a first request loads one.")


def _cells(worker: dict[str, Any]) -> tuple[str, ...]:
    memory, up = worker["rss_bytes"], worker["uptime_s"]
    return (
        worker["model"],
        worker["engine"],
        worker["build"],
        (worker.get("plan") or {}).get("tuned") or "",
        _state(worker),
        f"{worker['busy']}/{worker['slots']}",
        str(worker["queued"]),
        str(worker["context"] or ""),
        gibibytes(memory) if memory else "",
        str(worker["pid"] or ""),
        duration(up) if up is not None else "",
        _network(worker["sandbox"]),
    )


def _network(sandbox: dict[str, Any]) -> str:
    """How a worker is confined; of an engine elsewhere, where requests go."""
    return f"{sandbox.get('network', '')}{' (public)' if sandbox.get('public') else ''}"


def _state(worker: dict[str, Any]) -> str:
    """The state, how far a load is, when a worker that is not there is tried again, and what it was loaded without."""
    state, progress = worker["state"], worker.get("progress")
    if state == "loading" and progress is not None:
        state = f"loading {progress:.0%}"
    if (pause := worker.get("retry_in_s")) is not None:
        state += f" (next try {'when asked, ' if worker.get('given_up') else ''}in {duration(pause)})"
    if worker.get("reduced"):
        state += f" ({worker['reduced']})"
    return ", ".join((str(state), *map(_heard, worker.get("files", ()))))


def _heard(file: dict[str, Any]) -> str:
    """How far a file is that is being transcribed."""
    heard, claimed = file["heard_s"], file["claimed_s"]
    if claimed is None:
        return f"transcribing, {duration(heard)} heard"
    if claimed < 60:
        return f"transcribing {heard:.0f} of {claimed:.0f} s"
    return f"transcribing {heard / 60:.0f} of {claimed / 60:.0f} min"
