"""`freehold rm`."""

from __future__ import annotations

import sys

import click

from freehold.cli.output import print_json, printable
from freehold.cli.session import Session, json_option, with_session
from freehold.errors import FreeholdError


@click.command(
    epilog="""\b
Examples:
  freehold rm all-minilm:22m
  freehold rm first-model second-model"""
)
@click.argument("models", nargs=-1, required=True)
@json_option
@with_session()
def rm(session: Session, models: tuple[str, ...], as_json: bool) -> int:
    """Remove models and free their disk space."""
    server = session.server_if_any()
    removed = []
    for model in dict.fromkeys(models):
        try:
            if server is not None:
                server.delete_model(model)
            else:
                session.store.remove(model)
        except FreeholdError as error:  # the others are still to be removed
            print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
            continue
        removed.append(model)
        if not as_json:
            print(f"removed {model}")
    if as_json:
        print_json({"removed": removed})
    return int(len(removed) < len(dict.fromkeys(models)))
