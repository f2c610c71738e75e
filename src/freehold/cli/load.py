"""`freehold load` and `freehold unload`."""

from __future__ import annotations

import click

from freehold.cli.client import PATIENT, Client, ServerError
from freehold.cli.output import print_json
from freehold.cli.session import Session, json_option, with_session


@click.command(
    epilog="""\b
Examples:
  freehold load smollm2:135m
  freehold load smollm2:135m --keep-alive 2h"""
)
@click.argument("model")
@click.option("--keep-alive", metavar="TIME", help="How long it stays without a request: 300, 10m, 2h; -1 while there is room.")
@json_option
@with_session("none")
def load(session: Session, model: str, keep_alive: str | None, as_json: bool) -> None:
    """Load a model into memory; one that has failed is tried again."""
    body = {"model": model} | ({} if keep_alive is None else {"keep_alive": keep_alive})
    answer = _loaded(session.server(), body)
    if as_json:
        print_json(answer)
    else:
        reduced = (answer["worker"] or {}).get("reduced")
        print(f"{answer['model']} is loaded{f', with {reduced}: memory was short' if reduced else ''}.")


@click.command(
    epilog="""\b
Examples:
  freehold unload smollm2:135m
  freehold unload smollm2:135m --force"""
)
@click.argument("model")
@click.option("--force", is_flag=True, help="End the requests that it is answering.")
@json_option
@with_session("none")
def unload(session: Session, model: str, force: bool, as_json: bool) -> None:
    """Take a model out of memory; its files stay."""
    answer = session.server().call("POST", "/api/unload", {"model": model, "force": force}, seconds=PATIENT)
    if as_json:
        print_json(answer)
    else:
        print(f"{answer['model']} {'is unloaded' if answer['unloaded'] else 'was not loaded'}.")


def _loaded(server: Client, body: dict[str, str]) -> dict[str, dict[str, object]]:
    """The server's answer. Its limit of waiting is for requests: a load that takes longer goes on, and is waited for again."""
    while True:
        try:
            answer: dict[str, dict[str, object]] = server.call("POST", "/api/load", body, seconds=PATIENT)
        except ServerError as error:
            if error.code != "queue_timeout":
                raise
        else:
            return answer
