"""`freehold engine`: the builds of llama.cpp on this machine, which one runs models, and engines of other kinds."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from freehold.cli.output import print_json, print_table, printable
from freehold.cli.progress import board
from freehold.cli.session import Session, json_option, warn, with_session
from freehold.errors import BuildFailed, FreeholdError
from freehold.store.disk import megabytes

if TYPE_CHECKING:
    from freehold.builder.make import Place
    from freehold.builder.progress import OnStep
    from freehold.fleet.builds import Build, Choice
    from freehold.fleet.environments import Environment

_STARTER = "smollm2:135m"  # what a new build is tested with, where it is installed


@click.group(
    epilog="""\b
Examples:
  freehold engine list
  freehold engine build
  freehold engine install cuda"""
)
def engine() -> None:
    """Choose, install and compile the engines that run models: llama.cpp for text, diffusers for pictures."""


@engine.command(
    "list",
    epilog="""\b
Examples:
  freehold engine list
  freehold engine list --json""",
)
@json_option
@with_session("used")
def list_(session: Session, as_json: bool) -> None:
    """List the engines, and say which build of llama.cpp runs models and why."""
    from freehold.fleet import builds, environments

    settings = session.settings
    found = builds.installed(builds.folder(settings.data_dir))
    choice = builds.chosen(settings.data_dir, settings.engine.build)
    others = environments.installed(builds.folder(settings.data_dir))
    if as_json:
        told_of = {"builds": [_as_json(each) for each in found], "environments": [_as_json(each) for each in others]}
        print_json({**told_of, "chosen": choice.build.name, "reason": choice.reason})
        return
    headers = ("NAME", "KIND", "FOR", "VERSION", "SIZE", "INSTRUCTION SETS", "TESTED")
    print_table(headers, [*(_cells(build) for build in found), *(_environment_cells(each) for each in others)])
    print(f"\nModels run on {printable(told(choice))}.")


@engine.command(
    epilog="""\b
Examples:
  freehold engine build
  freehold engine build cuda --jobs 4"""
)
@click.argument("gpu", type=click.Choice(["cuda", "vulkan", "metal"]), required=False)
@click.option("--jobs", type=click.IntRange(1, 1024), help="Compilers at a time.  [default: by cores and memory]")
@json_option
@with_session("used")
def build(session: Session, gpu: str | None, jobs: int | None, as_json: bool) -> None:
    """Compile llama.cpp for this machine's processor, or GPU: some minutes; an older build is kept until it is tested."""
    from freehold.builder import make

    with _making(session, make.native_name(gpu or "cpu")) as (place, report):  # type: ignore[arg-type]
        made = make.build(place, gpu or "cpu", jobs, report)  # type: ignore[arg-type]
    _done(session, made, as_json)


@engine.command(
    epilog="""\b
Examples:
  freehold engine install cuda
  freehold engine install rocm --variant rocm-6.4.1
  freehold engine install diffusers
  freehold engine install vllm"""
)
@click.argument("engine", type=click.Choice(["cuda", "rocm", "vulkan", "diffusers", "vllm"]))
@click.option("--variant", help="Folder of the index, such as cu128; for diffusers also pypi.  [default: by GPU and driver]")
@json_option
@with_session("used")
def install(session: Session, engine: str, variant: str | None, as_json: bool) -> None:
    """Install an engine: llama.cpp's wheel for this machine's GPU; diffusers, which draws pictures; or vLLM, for NVIDIA's GPUs.

    Wheels for a GPU come from the index in the setting engine.index; diffusers and vLLM from the package index that pip is
    configured for, and the PyTorch of diffusers, where that has no build for this machine, from the one in engine.torch_index.
    """
    from freehold.builder import environment, make, vllm

    if variant is not None and not variant.replace("-", "").replace(".", "").isalnum():
        raise click.UsageError(f"{variant!a} is no folder of an index; it is a word such as cu128.")
    settings = session.settings.engine
    with _making(session, engine) as (place, report):
        if engine == "diffusers":
            new = environment.install(place, "diffusers", settings.torch_index, variant, report)
            _environment_done(new, as_json)
            return
        if engine == "vllm":
            if variant is not None:
                raise click.UsageError("vllm has no variants: the package index has one build, for NVIDIA's GPUs.")
            _environment_done(vllm.install(place, report), as_json)
            return
        made = make.install(place, engine, settings.index, variant, report)  # type: ignore[arg-type]
    _done(session, made, as_json)


@engine.command(
    epilog="""\b
Examples:
  freehold engine remove native"""
)
@click.argument("names", nargs=-1, required=True)
@json_option
@with_session("used")
def remove(session: Session, names: tuple[str, ...], as_json: bool) -> int:
    """Remove engines, and what unfinished ones left behind."""
    from freehold.builder import workshop
    from freehold.fleet import builds, environments, shelf

    root = builds.folder(session.settings.data_dir)
    removed = []
    for name in dict.fromkeys(names):
        try:
            cleared = workshop.clear(root, name) if name.replace("-", "").isalnum() else False
            if not cleared or name in shelf.names(root):
                (environments if name in environments.NAMES else builds).remove(root, name)
        except FreeholdError as error:  # the others are still to be removed
            print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
            continue
        removed.append(name)
        if not as_json:
            print(f"removed {name}")
    if as_json:
        print_json({"removed": removed})
    if session.settings.engine.build in removed:
        warn(f"The setting engine.build still names {session.settings.engine.build}.")
    return int(len(removed) < len(dict.fromkeys(names)))


def told(choice: Choice) -> str:
    """The chosen build in a few words: "native (llama.cpp 0c1e570): it was compiled for this processor"."""
    return f"{choice.build.name} ({choice.build.version}): {choice.reason}"


@contextlib.contextmanager
def _making(session: Session, name: str) -> Iterator[tuple[Place, OnStep]]:
    """What a build is made with; its progress on standard error. A failed one's last lines are shown."""
    from freehold.builder.make import Place
    from freehold.builder.smoke import Model
    from freehold.hardware.probe import probe

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # unwinds: what was started ends
    weights = None
    if session.store.has(_STARTER):
        weights = session.store.serving(session.store.get(_STARTER), "weights")
    model = Model(_STARTER, weights) if weights else Model()
    settings = session.settings
    try:
        with board() as progress:
            yield Place(settings.data_dir, probe(), model, settings.engine.sandbox), lambda step: progress.show(name, step)
    except BuildFailed as error:
        for line in error.lines:
            print(f"  {printable(line)}", file=sys.stderr)
        raise


def _done(session: Session, made: Build, as_json: bool) -> None:
    from freehold.fleet import builds

    if as_json:
        print_json(_as_json(made))
        return
    print(f"{made.name} is installed ({made.tested}).")
    choice = builds.chosen(session.settings.data_dir, session.settings.engine.build)
    print(f"Models run on {printable(told(choice))}. A running server goes on as it is until it is started again.")


def _environment_done(made: Environment, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(made))
        return
    print(f"{made.name} is installed: {made.version} with torch {made.torch} ({made.tested}).")
    again = "A running server takes it for the next model that it loads."
    print(again if made.device == "cpu" else "Start a running server again: it plans with the GPU from then on.")


def _as_json(build: Build | Environment) -> dict[str, Any]:
    table = {key: value for key, value in asdict(build).items() if key != "folder"}
    return {**table, "current": build.current}


def _cells(build: Build) -> tuple[str, ...]:
    return (
        build.name,
        build.kind,
        build.backend,
        build.version if build.current else f"{build.version} (old)",
        megabytes(build.size) if build.size else "",
        " ".join(build.instruction_sets),
        build.tested,
    )


def _environment_cells(made: Environment) -> tuple[str, ...]:
    version = f"{made.version}, torch {made.torch}"
    shown = version if made.current else f"{version} (old)"
    return (made.name, "environment", made.device, shown, megabytes(made.size), "", made.tested)
