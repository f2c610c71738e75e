"""The sources of llama.cpp, as they are shipped in a pinned archive on the package index."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from freehold.builder.progress import OnStep, bytes_of
from freehold.errors import DigestMismatch, SourceUnreachable
from freehold.fleet import builds
from freehold.store import disk, pip
from freehold.store.archive import unpack

_CHUNK = 1 << 20
# pip asks an archive's build backend what package it is, even when it only downloads. It gets this answer instead: nothing that
# is in the archive is run, nor are the tools installed that its backend would want.
_BACKEND = '''"""Answers pip's question for a package's metadata, and builds nothing."""
import os


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = "{package}-{version}.dist-info"
    os.mkdir(os.path.join(metadata_directory, folder))
    with open(os.path.join(metadata_directory, folder, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: {package}\\nVersion: {version}\\n")
    return folder
'''


@dataclass(frozen=True)
class Sources:
    """An archive on the package index, and the folder in it that is llama.cpp. `backend` is the dotted name of the archive's
    build backend; `size` and `unpacked` are bytes, for progress."""

    requirement: str = builds.SOURCES
    sha256: str = builds.SOURCES_SHA256
    commit: str = builds.SOURCES_COMMIT
    backend: str = "scikit_build_core.build"
    inner: str = "vendor/llama.cpp"
    size: int = 76_589_250
    unpacked: int = 131_000_000

    @property
    def package(self) -> str:
        return self.requirement.partition("==")[0].replace("-", "_")

    @property
    def version(self) -> str:
        return self.requirement.partition("==")[2]

    @property
    def pin(self) -> str:
        return f"{self.requirement} sha256:{self.sha256}"


def fetch(sources: Sources, work: Path, report: OnStep) -> Path:
    """The unpacked sources in `work`, from an earlier try where they are whole. Raises SourceUnreachable, DigestMismatch,
    DiskFull, StoreError."""
    target, unfinished = work / "source", work / "source.part"
    if target.is_dir():
        return target
    with disk.translated():
        archive = _archive(sources, work, report)
        shutil.rmtree(unfinished, ignore_errors=True)
        prefix = f"{sources.package}-{sources.version}/{sources.inner}/"
        unpack(
            archive,
            prefix,
            unfinished,
            report=lambda written: report(bytes_of("unpacking the sources", written, sources.unpacked)),
        )
        unfinished.rename(target)
        archive.unlink()
    return target


def _archive(sources: Sources, work: Path, report: OnStep) -> Path:
    """The archive, with its digest checked."""
    archive = work / f"{sources.package}-{sources.version}.tar.gz"
    if not archive.is_file():
        _download(sources, work, archive, report)
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    if digest.hexdigest() != sources.sha256:
        archive.unlink()
        raise DigestMismatch(
            f"The archive that the package registry gave for {sources.requirement} is not the one that was pinned.",
            "Do not trust that registry before you know why: python3 -m pip config list",
        )
    return archive


def _download(sources: Sources, work: Path, archive: Path, report: OnStep) -> None:
    folder = work / "download"
    shutil.rmtree(folder, ignore_errors=True)
    backend = folder / "backend" / f"{sources.backend.replace('.', '/')}.py"
    backend.parent.mkdir(parents=True)
    backend.write_text(_BACKEND.format(package=sources.package, version=sources.version), encoding="utf-8")
    for parent in (path for path in backend.parents if path.is_relative_to(folder / "backend") and path != folder / "backend"):
        (parent / "__init__.py").touch()
    given = folder / "out"
    pip.run(
        ("download", "--no-deps", "--no-binary=:all:", "--no-build-isolation", "--dest", str(given), sources.requirement),
        folder,
        f"The source of the engine ({sources.requirement})",
        lambda: report(bytes_of("downloading the sources", disk.tree_bytes(folder), sources.size)),
        {"PYTHONPATH": str(folder / "backend")},
    )
    if not (given / archive.name).is_file():
        raise SourceUnreachable(f"The package registry gave no archive for {sources.requirement}.", pip.CONFIGURATION)
    (given / archive.name).rename(archive)
    shutil.rmtree(folder, ignore_errors=True)
