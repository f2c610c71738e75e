"""Builds of llama.cpp on this machine, and which of them runs a model.

They lie on the `shelf`: bin/llama-server of a native build, site/ of an installed wheel.
The build of the default install ("prebuilt") has no folder: it is always there. A manifest that cannot be read counts as no
build. What makes builds is freehold.builder; this only reads them.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from freehold.errors import NotInstalled, StoreError
from freehold.fleet import shelf
from freehold.hardware.plan import PREBUILT
from freehold.hardware.probe import Machine
from freehold.hardware.probe import probe as probe_machine

Kind = Literal["prebuilt", "wheel", "native"]
Backend = Literal["cpu", "cuda", "rocm", "vulkan", "metal"]

AUTO = "auto"
LIBRARY = "xllamacpp"  # the package that holds llama.cpp in wheels
# The llama.cpp sources of native builds: an archive on the package index, its digest, and the commit that is in it.
SOURCES = "llama-cpp-python==0.3.36"
SOURCES_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
SOURCES_COMMIT = "0c1e57098bba43ac29e6e3b677cdceebdd22334f"

_BEST_FIRST: tuple[Backend, ...] = ("cuda", "rocm", "metal", "vulkan")
_PREBUILT_SETS = {("Linux", "x86_64"): ("AVX", "AVX2", "FMA", "F16C")}  # of the wheel on the package index


@dataclass(frozen=True)
class Build:
    """A build of the engine. `version` says which llama.cpp; `pin` what it was made from, and is compared to tell an old build;
    `instruction_sets` are those it needs (names of freehold.hardware.cpu); `made` and `tested` are a line each for people;
    `size` is bytes, `created` Unix time. `folder` holds its files, and is None for the prebuilt one.
    """

    name: str
    kind: Kind
    backend: Backend
    version: str
    pin: str
    instruction_sets: tuple[str, ...] = ()
    made: str = ""
    tested: str = ""
    size: int = 0
    created: int = 0
    folder: Path | None = None

    @property
    def program(self) -> Path | None:
        """The llama-server of a native build."""
        return self.folder / "bin" / "llama-server" if self.folder and self.kind == "native" else None

    @property
    def site(self) -> Path | None:
        """The folder that a wheel was installed to, for sys.path."""
        return self.folder / "site" if self.folder and self.kind == "wheel" else None

    @property
    def current(self) -> bool:
        """Whether it was made from what this version of Freehold is made for."""
        return self.pin == pin(self.kind)


@dataclass(frozen=True)
class Choice:
    """The build that runs models, and why, in one sentence."""

    build: Build
    reason: str


def folder(data_dir: Path) -> Path:
    """Where builds are kept; the `root` of the functions below."""
    return shelf.folder(data_dir)


def pin(kind: Kind) -> str:
    """What builds of a kind are made from now."""
    return f"{SOURCES} sha256:{SOURCES_SHA256}" if kind == "native" else f"{LIBRARY}=={wheel_version()}"


def wheel_version() -> str:
    """The version of the wheel in the default install; its last number is llama.cpp's own build number."""
    try:
        return importlib.metadata.version(LIBRARY)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def prebuilt() -> Build:
    """The wheel of the default install."""
    version = wheel_version()
    backend: Backend = "metal" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"
    sets = _PREBUILT_SETS.get((platform.system(), platform.machine()), ())
    llama = f"llama.cpp b{version.rpartition('.')[2]}"
    return Build(PREBUILT, "prebuilt", backend, llama, pin("prebuilt"), sets, "comes with Freehold, from the package index")


def installed(root: Path) -> list[Build]:
    """All builds, the prebuilt one first, the others by name."""
    found = (_read(root, name) for name in shelf.names(root) if name != PREBUILT)
    return [prebuilt(), *(build for build in found if build is not None)]


def get(root: Path | None, name: str) -> Build:
    """The build of that name. Raises NotInstalled; without a `root` only the prebuilt one is there."""
    if name == PREBUILT:
        return prebuilt()
    build = _read(root, name) if root is not None and shelf.is_name(name) else None
    if build is None:
        raise NotInstalled(f"The engine build {name[:40]!r} is not installed.", "See what is: freehold engine list")
    return build


def versions(root: Path) -> dict[str, str]:
    """What each build is made from, by name; a result that was measured with another pin does not hold."""
    return {build.name: build.pin for build in installed(root)}


def runnable(root: Path, machine: Machine) -> dict[str, str]:
    """What the builds that this machine can run are made from, by name: those for its GPUs and its processor."""
    gpus = backends(machine)
    return {
        build.name: build.pin
        for build in installed(root)
        if build.backend in {"cpu", *gpus} and build.current and not _missing(build, machine.cpu.instruction_sets)
    }


def backends(machine: Machine) -> frozenset[Backend]:
    """The kinds of GPU that a machine can compute on."""
    found: set[Backend] = {gpu.kind for gpu in machine.gpus}
    if found & {"cuda", "rocm"}:
        found.add("vulkan")  # their drivers speak it too
    return frozenset(found)


def chosen(data_dir: Path, wanted: str, probe: Callable[[], Machine] = probe_machine) -> Choice:
    """`choose` for this machine, which is looked at only where there is a choice. Raises as it does."""
    root = folder(data_dir)
    if len(installed(root)) == 1:
        return choose(root, wanted, (), ())
    machine = probe()
    return choose(root, wanted, backends(machine), machine.cpu.instruction_sets)


def choose(root: Path, wanted: str, gpus: Collection[Backend], instruction_sets: Collection[str]) -> Choice:
    """The build that models run on. `wanted` is the setting engine.build: a name, or "auto" for the best that is there.

    Auto takes a build for a GPU that the machine has, else a native one for its processor, else the prebuilt one; never one
    that is older than what it would be made from today, nor one for another processor. Raises NotInstalled for a name that is
    not there, StoreError for a build that this processor cannot run.
    """
    builds = installed(root)
    if wanted != AUTO:
        build = get(root, wanted)
        if missing := _missing(build, instruction_sets):
            raise StoreError(
                f"The engine build {wanted} was made for another processor: this one has no {missing}.",
                f"Make it again here, or set engine.build to {AUTO}.",
            )
        return Choice(build, f"the setting engine.build says {wanted}")
    usable = [build for build in builds if build.current and not _missing(build, instruction_sets)]
    for backend in (backend for backend in _BEST_FIRST if backend in gpus):
        fitting = [build for build in usable if build.backend == backend]
        if fitting:
            return Choice(max(fitting, key=_nativeness), f"this machine has a GPU for {backend}")
    native = [build for build in usable if build.kind == "native" and build.backend == "cpu"]
    if native:
        return Choice(native[0], "it was compiled for this processor")
    return Choice(builds[0], _why_not(builds, gpus, instruction_sets))


def remove(root: Path, name: str) -> None:
    """Removes a build. Raises NotInstalled, and StoreError when a worker runs on it or it is the prebuilt one."""
    if name == PREBUILT:
        raise StoreError(
            "The prebuilt engine belongs to Freehold and stays.", "Other builds can be removed: freehold engine list"
        )
    get(root, name)
    shelf.take(root, name)


def commit(root: Path, build: Build, staged: Path) -> Build:
    """Moves the files of a tested build into place and makes it the one of its name; the old one, if any, is there until then.

    `staged` must be on the same file system as `root`. Raises StoreError, DiskFull.
    """
    shelf.put(root, build.name, {key: value for key, value in asdict(build).items() if key not in {"name", "folder"}}, staged)
    return get(root, build.name)


def _read(root: Path, name: str) -> Build | None:
    found = shelf.read(root, name)
    try:
        return _parsed(name, found[1], found[0]) if found else None
    except (ValueError, KeyError, TypeError):
        return None


def _parsed(name: str, table: Mapping[str, Any], folder: Path) -> Build:
    """A build from its manifest. Raises KeyError, TypeError or ValueError for a table that is none."""
    kind, backend = table["kind"], table["backend"]
    if kind not in {"wheel", "native"} or backend not in get_args(Backend):
        raise ValueError(name)
    texts = {key: str(table[key])[:500] for key in ("version", "pin", "made", "tested")}
    numbers = {key: int(table[key]) for key in ("size", "created")}
    sets = tuple(str(item) for item in table["instruction_sets"])
    return Build(name=name, kind=kind, backend=backend, instruction_sets=sets, folder=folder, **texts, **numbers)  # type: ignore[arg-type]


def _missing(build: Build, instruction_sets: Collection[str]) -> str:
    """The first instruction set that a native build needs and the processor lacks."""
    needed: Iterable[str] = build.instruction_sets if build.kind == "native" else ()
    return next((item for item in needed if item not in instruction_sets), "")


def _nativeness(build: Build) -> bool:
    return build.kind == "native"


def _why_not(builds: Collection[Build], gpus: Collection[Backend], instruction_sets: Collection[str]) -> str:
    """Why the prebuilt build is the choice."""
    for build in builds:
        if build.kind != "prebuilt" and not build.current:
            return f"{build.name} is of another version; make it again: freehold engine {_verb(build)} {build.backend}"
        if missing := _missing(build, instruction_sets):
            return f"{build.name} was made for another processor: this one has no {missing}"
        if build.backend != "cpu" and build.backend not in gpus:
            return f"{build.name} is for a GPU that this machine does not have"
    if gpus:
        return "no build for this machine's GPU is installed"
    return "no other build is installed; `freehold engine build` compiles one for this processor"


def _verb(build: Build) -> str:
    return "build" if build.kind == "native" else "install"
