"""Making a build: in a work folder, tested there, and only then moved into place.

data_dir/engines/.work/<name>/      stays after a failed or interrupted compilation, and the next one goes on from it
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from freehold.builder import smoke, wheels
from freehold.builder.compile import compile_server, flags, jobs
from freehold.builder.progress import OnStep, Step
from freehold.builder.sources import Sources, fetch
from freehold.builder.tools import compilers, toolchain
from freehold.errors import StoreError
from freehold.fleet import builds
from freehold.fleet.builds import Backend, Build
from freehold.hardware.probe import Machine
from freehold.store import disk
from freehold.store.locks import try_folder

_WORK = ".work"
_ROOM: dict[Backend, int] = {"cuda": 4 * 10**9}  # disk for a compilation, in bytes
_USUAL_ROOM = 8 * 10**8


@dataclass(frozen=True)
class Place:
    """Where builds go, and what they are made for and tested with. `sandbox` is the setting engine.sandbox."""

    data_dir: Path
    machine: Machine
    model: smoke.Model = field(default_factory=smoke.Model)
    sandbox: str = "auto"
    sources: Sources = field(default_factory=Sources)

    @property
    def root(self) -> Path:
        return builds.folder(self.data_dir)


def native_name(backend: Backend) -> str:
    return "native" if backend == "cpu" else f"native-{backend}"


def build(place: Place, backend: Backend, parallel: int | None, report: OnStep) -> Build:
    """Compiles llama.cpp for this machine, tests it, and puts it in place of an older one.

    `parallel` is how many compilers run at a time; None goes by cores and memory. Raises StoreError saying what is missing,
    SourceUnreachable, DigestMismatch, DiskFull, or BuildFailed; an older build is kept then.
    """
    _has_gpu(place.machine, backend)
    sources, found = place.sources, compilers(backend)
    definitions = flags(backend, sources.commit, found.toolkit)
    stamp = [sources.pin, *definitions, found.c, found.cxx, found.described]
    with _working(place.root, native_name(backend), stamp) as work:
        if not (work / "build").is_dir():
            disk.require(disk.free_bytes(work), _ROOM.get(backend, _USUAL_ROOM))
        tools = toolchain(found, work, report)
        fetch(sources, work, report)
        cpu, memory = place.machine.cpu, place.machine.memory
        program = compile_server(work, definitions, tools, parallel or jobs(backend, cpu.usable, memory.available), report)
        with _staged(work) as staged:
            with disk.translated():
                (staged / "bin").mkdir()
                shutil.copy2(program, staged / "bin" / "llama-server")
            made = Build(
                name=native_name(backend),
                kind="native",
                backend=backend,
                version=f"llama.cpp {sources.commit[:7]}",
                pin=sources.pin,
                instruction_sets=cpu.instruction_sets,
                made=f"compiled here by {found.described}",
            )
            return _finished(place, made, staged, report)


def install(place: Place, backend: Backend, index: str, variant: str | None, report: OnStep) -> Build:
    """Installs the wheel for a GPU from the index whose folders are below `index`, tests it, and puts it into place.

    `variant` is the index's folder, chosen by the driver when it is None. Raises as `build` does.
    """
    _has_gpu(place.machine, backend)
    chosen = variant or wheels.variant(backend, place.machine)
    version = builds.library_version()
    with _working(place.root, backend, [index, chosen, version]) as work:
        disk.require(disk.free_bytes(work), wheels.needed_bytes(backend))
        with _staged(work) as staged:
            address = f"{index.rstrip('/')}/{chosen}"
            wheel = wheels.install(backend, address, work, staged / "site", report)
            made = Build(
                name=backend,
                kind="wheel",
                backend=backend,
                version=f"llama.cpp b{version.rpartition('.')[2]}",
                pin=builds.pin("wheel"),
                made=f"{chosen}, {wheel.url.rpartition('/')[2]} sha256:{wheel.sha256}",
            )
            return _finished(place, made, staged, report)


def clear(root: Path, name: str) -> bool:
    """Removes what an unfinished build left behind; False when there is nothing, StoreError while it is being made."""
    work = root / _WORK / name
    if not work.is_dir():
        return False
    with _locked(work):
        shutil.rmtree(work, ignore_errors=True)
    return True


def _finished(place: Place, made: Build, staged: Path, report: OnStep) -> Build:
    """Tests the build in `staged`, then moves it into place."""
    report(Step("testing", text="testing: it serves a model"))
    tested = smoke.prove(replace(made, folder=staged), place.model, place.sandbox)
    report(Step("installing", text="moving it into place"))
    size = disk.tree_bytes(staged)
    return builds.commit(place.root, replace(made, tested=tested, size=size, created=int(time.time())), staged)


def _has_gpu(machine: Machine, backend: Backend) -> None:
    if backend != "cpu" and backend not in builds.backends(machine):
        reason = f": {machine.gpu_reason}" if machine.gpu_reason else ""
        raise StoreError(
            f"This machine has no GPU for {backend}{reason}.", machine.gpu_remedy or "See what it has: freehold doctor"
        )


@contextlib.contextmanager
def _working(root: Path, name: str, stamp: list[Any]) -> Iterator[Path]:
    """The work folder of a build, empty unless it was left by one with the same stamp; gone after success."""
    work = root / _WORK / name
    with disk.translated():
        work.mkdir(parents=True, exist_ok=True)
    with _locked(work):
        with disk.translated():
            _emptied_unless(work, json.dumps(stamp))
        yield work
        shutil.rmtree(work, ignore_errors=True)


def _emptied_unless(work: Path, stamp: str) -> None:
    note = work / "stamp.json"
    if not note.is_file() or note.read_text(encoding="utf-8", errors="replace") != stamp:
        for path in work.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        disk.write_atomically(note, stamp)


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    handle = try_folder(work)
    if handle is None:
        raise StoreError(f"The engine build {work.name} is being made by another process.", "Wait until that is done.")
    try:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _staged(work: Path) -> Iterator[Path]:
    """A folder for the finished files, gone if they are not moved away."""
    staged = work / secrets.token_hex(6)
    with disk.translated():
        staged.mkdir()
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)
