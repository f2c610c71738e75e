"""`freehold tune`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from freehold.cli.client import NoServer, ServerError
from freehold.cli.output import print_json
from freehold.cli.session import Session, json_option, warn, with_session
from freehold.errors import OperatorError

if TYPE_CHECKING:
    from freehold.hardware.probe import Machine
    from freehold.routing.catalog import Catalog
    from freehold.routing.tuner import Wish

_BUSY = 0.25  # of the processors' time: beyond, others are at work and the figures are theirs, too


@click.command(
    epilog="""\b
Examples:
  freehold tune smollm2:135m
  freehold tune smollm2:135m --quick --json
  freehold tune --list
  freehold tune --forget smollm2:135m"""
)
@click.argument("model", required=False)
@click.option("--quick", is_flag=True, help="About 45 seconds: the settings that matter most.")
@click.option("--full", is_flag=True, help="About 15 minutes: longer prompts, more rounds, more to choose from.")
@click.option("--seconds", type=click.FloatRange(1, 86_400), help="Another limit for the search.")
@click.option("--also", multiple=True, metavar="MODEL", help="Another installed model to compare speeds with; may be repeated.")
@click.option("--allow-lossy", is_flag=True, help="Also try smaller types of the KV cache, which make answers a little worse.")
@click.option("--force", is_flag=True, help="Measure although a server is running.")
@click.option("--list", "listing", is_flag=True, help="List what is tuned on this machine.")
@click.option("--forget", is_flag=True, help="Forget what was measured for the model.")
@json_option
@with_session()
def tune(
    session: Session,
    model: str | None,
    quick: bool,
    full: bool,
    seconds: float | None,
    also: tuple[str, ...],
    allow_lossy: bool,
    force: bool,
    listing: bool,
    forget: bool,
    as_json: bool,
) -> None:
    """Measure how a model runs fastest on this machine, and run it so from now on."""
    if listing + forget + (quick or full) > 1 or (quick and full):
        raise click.UsageError("--quick, --full, --list and --forget exclude each other.")
    if listing:
        _list(session, as_json)
    elif not model:
        raise click.UsageError("Which MODEL? `freehold list` shows what is installed.")
    elif forget:
        _forget(session, model, as_json)
    else:
        from freehold.routing.tuner import Wish

        _alone(session, force)
        free = session.settings.engine.threads == 0
        wish = Wish("quick" if quick else "full" if full else "default", allow_lossy, seconds or 0, threads=free)
        _tune(session, model, also, wish, as_json)


def _tune(session: Session, model: str, also: tuple[str, ...], wish: Wish, as_json: bool) -> None:
    from freehold.cli.tune_view import as_table, as_value, following
    from freehold.fleet import builds
    from freehold.hardware.probe import probe
    from freehold.hardware.tuning import save
    from freehold.routing.tuner import relatives, tune
    from freehold.telemetry import configure_logging

    configure_logging("error")  # a candidate that does not start is a row of the table, not an event
    machine = probe()
    catalog = _catalog(session, machine)
    entry = catalog.resolve(model)
    others = [catalog.resolve(name) for name in also]
    for each in (entry, *others):
        each.check()
    if not others and wish.effort != "quick":
        others = relatives(entry, list(catalog.entries()))
    engines = builds.runnable(builds.folder(session.settings.data_dir), machine)
    if session.settings.engine.build != builds.AUTO:  # the user's own choice: no other is tried
        engines = {name: pin for name, pin in engines.items() if name == entry.deployment.plan.knobs.build}
    _warn_of_others(machine.cpu.usable)
    with following() as report, tempfile.TemporaryDirectory(prefix="fh-tune-") as runtime:
        tuning = asyncio.run(tune(entry, others, machine, engines, wish, runtime=Path(runtime), report=report))
    path = save(session.settings.data_dir, tuning.tuned)
    if as_json:
        print_json(as_value(entry, tuning, path))
    else:
        as_table(entry, tuning)


def _catalog(session: Session, machine: Machine) -> Catalog:
    """The installed models as they run untuned."""
    from freehold.routing.catalog import Catalog
    from freehold.routing.planner import Home, Planner

    settings = session.settings
    return Catalog(session.store, settings, Planner(settings, Home.of(machine, settings), measured=False))


def _alone(session: Session, force: bool) -> None:
    """Refuses while a server runs here: its models and the measured ones would slow each other down."""
    try:
        session.client.version()
    except NoServer:
        return
    except ServerError as error:
        if not error.code:  # another program
            return
    if not force:
        raise OperatorError(
            f"A server is running at {session.client.base}: it would be slow, and so would what is measured.",
            "Stop it first, or measure all the same with --force.",
        )
    warn(f"A server is running at {session.client.base}: what it does shows in the figures.")


def _warn_of_others(cores: int) -> None:
    if hasattr(os, "getloadavg") and (share := os.getloadavg()[0] / cores) > _BUSY:
        warn(f"Other programs wanted {share:.0%} of the processors just now: figures will be low, and the search less sure.")


def _forget(session: Session, model: str, as_json: bool) -> None:
    from freehold.hardware.probe import probe
    from freehold.hardware.tuning import forget
    from freehold.routing.tuner import weights_of

    entry = _catalog(session, probe()).resolve(model)
    count = forget(session.settings.data_dir, weights_of(entry))
    if as_json:
        print_json({"model": entry.manifest.name, "forgotten": count})
    else:
        print(f"{entry.manifest.name} runs with the defaults again." if count else f"{entry.manifest.name} was not tuned.")


def _list(session: Session, as_json: bool) -> None:
    from freehold.cli.tune_view import list_as_table, list_as_value
    from freehold.fleet import builds
    from freehold.hardware.probe import probe
    from freehold.hardware.tuning import everything, fingerprint
    from freehold.routing.tuner import weights_of

    machine = probe()
    names = {weights_of(entry): entry.manifest.name for entry in _catalog(session, machine).entries()}
    versions = builds.versions(builds.folder(session.settings.data_dir))
    here = fingerprint(machine)
    rows = [
        (names.get(tuned.model, ""), tuned, tuned.machine == here and versions.get(tuned.knobs.build) == tuned.engine)
        for tuned in everything(session.settings.data_dir)
    ]
    (list_as_value if as_json else list_as_table)(rows)
