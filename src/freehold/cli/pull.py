"""`freehold pull`."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from freehold.cli.client import Client, NoServer, ServerError
from freehold.cli.models import from_card, from_manifest
from freehold.cli.progress import board
from freehold.cli.session import Session, json_option, warn, with_session
from freehold.errors import OperatorError, StoreError
from freehold.store.names import is_path
from freehold.store.progress import Progress

if TYPE_CHECKING:
    from freehold.cli.models import Row
    from freehold.cli.progress import Board

_LOOK = 0.25  # seconds between two looks at how far the server is


@click.command(
    epilog="""\b
Examples:
  freehold pull smollm2:135m
  freehold pull ./Qwen3-4B-Q4_K_M.gguf --name qwen3:4b
  freehold pull https://example.com/model.gguf --sha256 <64 hex digits>"""
)
@click.argument("reference")
@click.option("--name", help="Name to give it.  [default: made from the file's]")
@click.option("--sha256", metavar="HEX", help="Digest the file must have; an https:// address needs one.")
@json_option
@with_session()
def pull(session: Session, reference: str, name: str | None, sha256: str | None, as_json: bool) -> None:
    """Install a model: a starter model, a GGUF file, or an https:// address."""
    server = session.server_if_any()
    with board() as progress:
        if server is None or is_path(reference):
            row = _here(session, reference, name, sha256, progress)
        else:
            row = _by_server(server, reference, name, sha256, progress)
    if server is not None and is_path(reference):
        _check_seen(server, row.name)
    if as_json:
        from freehold.cli.output import print_json

        print_json(row.as_json())
    else:
        print(f"{row.name} is installed.")


def _here(session: Session, reference: str, name: str | None, sha256: str | None, progress: Board) -> Row:
    """Pulls into the folder, in this process."""
    from freehold.store.pull import pull as pull_into

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # unwinds: nothing half-done stays
    label = name or reference.rpartition("/")[2]
    return from_manifest(
        pull_into(session.store, reference, name=name, sha256=sha256, on_progress=lambda state: progress.show(label, state))
    )


def _by_server(server: Client, reference: str, name: str | None, sha256: str | None, progress: Board) -> Row:
    """Has the server pull, and follows. Ctrl-C ends the server's pull too."""
    body = {"reference": reference, "name": name, "sha256": sha256}
    job = server.call("POST", "/api/pulls", {key: value for key, value in body.items() if value is not None})
    label = name or reference.rpartition("/")[2]
    try:
        while job["state"] == "running":
            if job["progress"]:
                progress.show(label, Progress(**job["progress"]))
            time.sleep(_LOOK)
            job = server.get(f"/api/pulls/{job['id']}")
    except KeyboardInterrupt:
        with contextlib.suppress(NoServer, ServerError):
            server.call("DELETE", f"/api/pulls/{job['id']}")
        raise
    return from_card(server.model(_arrived(job)))


def _arrived(job: dict[str, Any]) -> str:
    """The name of the model that a pull has brought. Raises StoreError with the reason why it has not."""
    if job["error"]:
        raise StoreError(job["error"]["message"], job["error"]["remedy"])
    if job["state"] != "done":
        raise OperatorError("The pull was cancelled.")
    return str(job["name"])


def _check_seen(server: Client, name: str) -> None:
    """A file goes into the folder of these settings, which may not be the server's."""
    try:
        server.model(name)
    except ServerError:
        warn(f"The server at {server.base} uses another data folder and does not have {name}; give --data-dir.")
