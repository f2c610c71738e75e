"""Making a build: in a work folder, tested there, and only then moved into place."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from freehold.builder import smoke, wheels
from freehold.builder.compile import compile_server, flags, jobs
from freehold.builder.progress import OnStep, Step
from freehold.builder.sources import Sources, fetch
from freehold.builder.tools import compilers, toolchain
from freehold.builder.workshop import staging, working
from freehold.errors import StoreError
from freehold.fleet import builds
from freehold.fleet.builds import Backend, Build
from freehold.hardware.probe import Machine
from freehold.store import disk

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
    with working(place.root, native_name(backend), stamp) as work:
        if not (work / "build").is_dir():
            disk.require(disk.free_bytes(work), _ROOM.get(backend, _USUAL_ROOM))
        tools = toolchain(found, work, report)
        fetch(sources, work, report)
        cpu, memory = place.machine.cpu, place.machine.memory
        program = compile_server(work, definitions, tools, parallel or jobs(backend, cpu.usable, memory.available), report)
        with staging(work) as staged:
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
    version = builds.wheel_version()
    with working(place.root, backend, [index, chosen, version]) as work:
        disk.require(disk.free_bytes(work), wheels.needed_bytes(backend))
        with staging(work) as staged:
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
