"""Making an engine environment: a venv with pinned packages and the build of torch that suits the machine, tested before it
replaces anything."""

from __future__ import annotations

import re
import shutil
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from freehold.builder import torch
from freehold.builder.make import Place
from freehold.builder.progress import OnStep, Step, bytes_of
from freehold.builder.trial import draw
from freehold.builder.workshop import staging, working
from freehold.errors import BuildFailed, StoreError
from freehold.fleet import environments
from freehold.fleet.environments import LOCKS, Environment, Name
from freehold.store import disk, pip

_PACKAGES_BYTES = 420_000_000  # of what is locked, installed
_DOWNLOADED_BYTES = 250_000_000  # that lie beside it meanwhile
_LOOK = 1.0  # seconds between two looks at a tree of twenty thousand files


def install(place: Place, name: Name, index: str, variant: str | None, report: OnStep) -> Environment:
    """Makes the environment, tests it, and puts it in place of an older one.

    `index` is the address of PyTorch's own index; `variant` one of its folders, or "pypi", where the choice is not left to the
    machine. Raises StoreError, SourceUnreachable, DiskFull, BuildFailed; an older environment is kept then.
    """
    chosen, pinned = torch.choose(place.machine, variant), environments.pin(name)
    with working(place.root, name, [pinned, chosen.folder, index]) as work:
        home = work / "made"  # after Ctrl-C it stays, whole or not, and the next try goes on with it
        made = _packages(name, chosen, index, home, report)
        new = Environment(
            name=name,
            version=f"{name} {version_of(home, name)}",
            torch=version_of(home, "torch"),
            device=chosen.device,
            pin=pinned,
            folder=home,
            made=made,
        )
        report(Step("testing", text="testing: it draws a picture"))
        return proven(place, new, lambda made: draw(made, place.sandbox), report)


def proven(place: Place, new: Environment, trial: Callable[[Environment], str], report: OnStep) -> Environment:
    """Tries an environment where it was made, a folder in its work folder, and moves it into place. Raises BuildFailed."""
    try:
        tested = trial(new)
    except BuildFailed:
        shutil.rmtree(new.folder, ignore_errors=True)  # what fails is not gone on with
        raise
    report(Step("installing", text="moving it into place"))
    size = disk.tree_bytes(new.folder)
    with staging(new.folder.parent) as staged:
        with disk.translated():
            new.folder.rename(staged)
        return environments.commit(place.root, replace(new, folder=staged, tested=tested, size=size, created=int(time.time())))


def new_python(home: Path, wanted: int, report: OnStep) -> None:
    """A venv without packages in home/venv, where there are `wanted` bytes of disk for what will be in it. Raises DiskFull."""
    with disk.translated():
        disk.require(disk.free_bytes(home.parent), wanted)
        report(Step("preparing", text="making a Python of its own"))
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(home / "venv")


def filled(name: Name, home: Path, size: int, report: OnStep) -> None:
    """Installs what the lock of that name has, about `size` bytes. Raises SourceUnreachable, DiskFull."""
    work, python, lock = home.parent, home / "venv" / "bin" / "python", LOCKS / f"{name}.lock"
    with disk.translated():
        pip.run(
            ("--python", str(python), "install", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(lock)),
            work,
            f"What {name} needs",
            _watching(work, report, f"installing {name}", size),
            pip.NOT_THE_USERS,
        )


def _packages(name: Name, chosen: torch.Choice, index: str, home: Path, report: OnStep) -> str:
    """Fills `home`, going on where an earlier try ended; returns where torch came from."""
    work, python, note = home.parent, home / "venv" / "bin" / "python", home / "torch.txt"
    if not note.is_file():
        new_python(home, chosen.bytes + _PACKAGES_BYTES + _DOWNLOADED_BYTES, report)
        with disk.translated():
            look = _watching(work, report, "installing torch", chosen.bytes)
            disk.write_atomically(note, torch.install(chosen, python, index, work, look))
    filled(name, home, _PACKAGES_BYTES, report)
    return note.read_text(encoding="utf-8")


def _watching(work: Path, report: OnStep, stage: str, total: int) -> Callable[[], None]:
    """Tells how much has come into the work folder since now, at most once a second."""
    before, last = disk.tree_bytes(work), 0.0

    def look() -> None:
        nonlocal last
        if time.monotonic() - last >= _LOOK:
            report(bytes_of(stage, max(0, disk.tree_bytes(work) - before), total))
            last = time.monotonic()

    return look


def version_of(home: Path, package: str) -> str:
    """Of an installed package, by the name of the folder that pip leaves for it (PEP 376)."""
    found = (re.fullmatch(rf"{package}-(.+)\.dist-info", path.name) for path in home.glob("venv/lib/python*/site-packages/*"))
    version = next((match[1] for match in found if match), None)
    if version is None:
        raise StoreError(f"pip did not install {package}.", pip.CONFIGURATION)
    return version
