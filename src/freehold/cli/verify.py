"""`freehold verify`."""

from __future__ import annotations

import sys

import click

from freehold.cli.output import print_json, printable
from freehold.cli.progress import Board, board
from freehold.cli.session import Session, json_option, with_session
from freehold.errors import StoreError
from freehold.store import integrity
from freehold.store.progress import Meter


@click.command(
    epilog="""\b
Examples:
  freehold verify
  freehold verify smollm2:135m --json"""
)
@click.argument("models", nargs=-1)
@json_option
@with_session("used")
def verify(session: Session, models: tuple[str, ...], as_json: bool) -> int:
    """Read the files of installed models again and find damage.

    Every byte is compared with the digest that the model was installed with. Without names, all models are checked.
    """
    names = list(dict.fromkeys(models)) or [manifest.name for manifest in session.store.list()]
    damaged: dict[str, str] = {}
    with board() as progress:
        for name in names:
            try:
                _verify(session, name, progress)
            except StoreError as error:  # the others are still to be checked
                damaged[name] = str(error)
                progress.note(name, "not as installed")
            else:
                progress.note(name, "as installed")
    for reason in damaged.values():
        print(f"error: {printable(' '.join(reason.split()))}", file=sys.stderr)
    if as_json:
        print_json({"verified": [name for name in names if name not in damaged], "damaged": damaged})
    elif not damaged:
        print(f"{len(names)} model{'' if len(names) == 1 else 's'} checked; all files are as they were installed.")
    return int(bool(damaged))


def _verify(session: Session, name: str, progress: Board) -> None:
    pins = integrity.pins(session.store, session.manifest(name))
    meter = Meter(lambda state: progress.show(name, state), "verify", integrity.to_read(pins))
    integrity.scrub(pins, meter.add)
