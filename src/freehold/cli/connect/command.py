"""`freehold connect`: points an editor, an agent or a library at the server, and takes it back."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from freehold.cli.client import Client, ServerError
from freehold.cli.connect.clients import RECIPES
from freehold.cli.connect.keep import Done, Keeper
from freehold.cli.connect.models import served, shortcomings
from freehold.cli.connect.recipe import Home, Plan, Probe, Recipe
from freehold.cli.output import print_json, print_table, printable
from freehold.cli.session import Session, json_option, warn, with_session
from freehold.errors import OperatorError

_ERROR = re.compile(rb'"error":\s*[{"]')  # within a text, the quotes would be escaped
_LARGEST = 2**20  # bytes of an answer to a probe that are looked at


@dataclass
class Told:
    """What a run of the command has to say."""

    client: str
    models: dict[str, str | None] = field(default_factory=dict)
    files: list[Done] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self, plan: Plan) -> dict[str, Any]:
        shown = [{"path": str(change.path), "text": change.shown} for change in plan.changes]
        rest = {"steps": plan.steps, "snippet": plan.snippet or None, "notes": self.notes, "tests": self.tests}
        files = [done.as_json() for done in self.files]
        return {"client": self.client, "models": self.models, "files": files, "configuration": shown, **rest}


@click.command(
    epilog="""\b
Examples:
  freehold connect
  freehold connect continue
  freehold connect zed --model qwen2.5-coder:7b --print
  freehold connect zed --undo"""
)
@click.argument("client", required=False)
@click.option("--model", help="Model that the client is to use.  [default: the server's defaults]")
@click.option("--undo", is_flag=True, help="Bring back what was there before.")
@click.option("--print", "only_print", is_flag=True, help="Print what would be written, and write nothing.")
@json_option
@with_session("used")
def connect(session: Session, client: str | None, model: str | None, undo: bool, only_print: bool, as_json: bool) -> int:
    """Set an editor, an agent or a library up for this server; without a name, list those that are known."""
    home = Home(Path.home(), os.environ, sys.platform)
    data_dir = session.settings.data_dir
    if client is None:
        if undo or only_print or model:
            raise click.UsageError("Name a client; `freehold connect` lists them.")
        _list(home, data_dir, as_json)
        return 0
    recipe = _recipe(client)
    if undo:
        _undo(Keeper(data_dir, recipe.name), recipe, as_json)
        return 0
    return _connect(session, home, recipe, model, only_print, as_json)


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        import difflib

        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else "`freehold connect` lists them."
        raise click.UsageError(f"There is no client {name!r}. {hint}")
    return RECIPES[name]


def _list(home: Home, data_dir: Path, as_json: bool) -> None:
    rows = [(recipe, recipe.found(home), Keeper(data_dir, name).connected) for name, recipe in RECIPES.items()]
    if as_json:
        print_json(
            [
                {"client": r.name, "title": r.title, "does": r.does, "found": str(found) if found else None, "connected": done}
                for r, found, done in rows
            ]
        )
        return
    table = [(r.name, r.title, r.does, str(found or ""), "yes" if done else "") for r, found, done in rows]
    print_table(["CLIENT", "NAME", "WHAT FOR", "FOUND", "CONNECTED"], table)


def _undo(keeper: Keeper, recipe: Recipe, as_json: bool) -> None:
    done = keeper.undo()
    if as_json:
        print_json({"client": recipe.name, "files": [one.as_json() for one in done]})
        return
    for one in done:
        print(printable(f"{one.action}  {one.path}"))


def _connect(session: Session, home: Home, recipe: Recipe, model: str | None, only_print: bool, as_json: bool) -> int:
    server = session.server()
    key = session.api_key if session.url else _key_of(session)
    found = served(server, recipe, model, key)
    plan = recipe.plan(home, found)
    used = {"chat": found.chat, "fim": found.fill, "embedding": found.embedding}
    told = Told(recipe.name, {task: one.name if one else None for task, one in used.items()})
    told.notes = shortcomings(recipe, found)
    if only_print:
        _show(plan, told, as_json)
        return 0
    told.files = Keeper(session.settings.data_dir, recipe.name).make(plan.changes, secret=key is not None)
    if not as_json:
        _say(plan, told)
    told.tests = [_tested(server, probe, as_json) for probe in plan.probes]
    if as_json:
        print_json(told.as_json(plan))
    failed = [test for test in told.tests if not test["ok"]]
    if failed:
        raise OperatorError(
            f"{failed[0]['request']} was not answered: {failed[0]['error']}",
            f"freehold connect {recipe.name} --undo takes it back.",
        )
    return 0


def _key_of(session: Session) -> str | None:
    key = session.settings.api_key
    return key.get_secret_value() if key else None


def _show(plan: Plan, told: Told, as_json: bool) -> None:
    if as_json:
        print_json(told.as_json(plan))
        return
    for change in plan.changes:
        print(printable(f"{change.path}:\n\n{change.shown}"))
    _say(plan, told)


def _say(plan: Plan, told: Told) -> None:
    for done in told.files:
        kept = f"  (before: {done.backup})" if done.backup and done.action == "written" else ""
        print(printable(f"{done.action}  {done.path}{kept}"))
    if plan.snippet:
        print(printable(plan.snippet))
    for step in plan.steps:
        print(printable(f"- {step}"))
    for note in told.notes:
        warn(note)


def _tested(server: Client, probe: Probe, quiet: bool) -> dict[str, Any]:
    """One real request, as the client sends it."""
    began = time.monotonic()
    error = ""
    try:
        with server.answer(probe.path, probe.body) as response:
            said = response.read(_LARGEST)
        if _ERROR.search(said):
            error = "the answer ended with an error"
    except ServerError as failed:
        error = failed.message
    seconds = round(time.monotonic() - began, 2)
    request = f"POST {probe.path}"
    if not quiet and not error:
        print(f"tested  {request} with {printable(str(probe.body.get('model')))}: answered in {seconds} s")
    return {"request": request, "model": probe.body.get("model"), "ok": not error, "error": error or None, "seconds": seconds}
