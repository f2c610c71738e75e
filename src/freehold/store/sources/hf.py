"""Models from Hugging Face: `hf:org/repo`, with a quantisation, a file, or a revision.

What stands behind a name is asked of the hub (`hub`); which files that is, is decided from their names (`quants`); the bytes
come by the downloader of all sources, checked against the sha256 that the hub gives for every large file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from freehold.errors import StoreError
from freehold.store import pipelines, quants
from freehold.store.manifest import Manifest, Role, check_digest
from freehold.store.names import name_for
from freehold.store.parts import whole_name
from freehold.store.progress import OnProgress
from freehold.store.sources.download import Wanted
from freehold.store.sources.pipeline import Pipeline, fetch_pipeline
from freehold.store.sources.remote import Remote, fetch_all
from freehold.store.staged import Staged, Terms
from freehold.store.staging import resumable
from freehold.store.store import Store

if TYPE_CHECKING:
    from freehold.store.sources.hub import Hub

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REFERENCE = re.compile(
    rf"(?P<repository>{_PART}/{_PART})(?P<path>(?:/[^/:@]+)*)(?:@(?P<revision>[A-Za-z0-9._/-]{{1,100}}))?(?::(?P<asked>[^:]+))?"
)
_PATH = re.compile(r"[A-Za-z0-9_()\[\]+=,. -]+(?:/[A-Za-z0-9_()\[\]+=,. -]+)*")
_HOSTS = ("hf.co", "huggingface.co", "www.huggingface.co")
_EXAMPLE = "It looks like hf:org/repo, hf:org/repo:Q4_K_M or hf:org/repo/file.gguf."


@dataclass(frozen=True)
class Reference:
    """What was asked for: a repository, and in it a quantisation or a file (`asked`), at a revision; None for the usual."""

    repository: str
    asked: str | None = None
    revision: str | None = None


def parse(text: str) -> Reference:
    """Raises StoreError for what names no repository. `text` is without the `hf:`."""
    found = _REFERENCE.fullmatch(text)
    if not found or ".." in text or not text.isascii():
        raise StoreError(f"{text[:120]!a} names no model of Hugging Face.", _EXAMPLE)
    path, asked = found["path"].lstrip("/"), found["asked"]
    if path and asked:
        raise StoreError(f"{text[:120]!a} names a file twice.", _EXAMPLE)
    if asked and asked.lower() == "latest":  # as other tools write it
        asked = None
    return Reference(found["repository"], path or asked, found["revision"])


def of_link(url: str) -> Reference | None:
    """What a link to Hugging Face's pages or files asks for; None for any other address."""
    parts = urlsplit(url)
    if parts.scheme != "https" or (parts.hostname or "") not in _HOSTS or parts.port not in (None, 443):
        return None
    pieces = [unquote(piece) for piece in parts.path.strip("/").split("/")]
    match pieces:
        case [org, repo]:
            return parse(f"{org}/{repo}")
        case [org, repo, "tree", revision]:
            return parse(f"{org}/{repo}@{revision}")
        case [org, repo, "blob" | "resolve" | "raw", revision, *path] if path:
            reference = parse(f"{org}/{repo}/{'/'.join(path)}@{revision}")
            return reference if revision != "main" else Reference(reference.repository, reference.asked)
    raise StoreError("This page of Hugging Face is no model.", _EXAMPLE)


@dataclass(frozen=True)
class Found:
    """What the hub has behind a reference: the files of a model, or the one that says which files of a `pipeline` are
    needed."""

    revision: str
    remotes: tuple[Remote, ...]
    license: str | None
    notes: tuple[str, ...] = ()
    pipeline: Pipeline | None = None


class FromHub:
    """A source: a model of Hugging Face. The sha256 (64 hex digits), where it is given, is that of its one file of weights."""

    def __init__(self, reference: Reference, sha256: str | None = None):
        self._reference = reference
        self._sha256 = sha256

    @property
    def name(self) -> str:
        if self._found.pipeline is not None:
            return name_for(self._reference.repository.rpartition("/")[2])
        return name_for(whole_name(self._found.remotes[0].name))

    def is_in(self, installed: Manifest) -> bool:
        weights = installed.file("weights")
        return self._sha256 is not None and weights is not None and weights.digest == f"sha256:{self._sha256}"

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        found, reference = self._found, self._reference
        path = f"/{reference.asked}" if reference.asked and reference.asked.lower().endswith(".gguf") else ""
        asked = f":{reference.asked}" if reference.asked and not path else ""
        revision = f"@{reference.revision}" if reference.revision else ""
        terms = Terms(f"hf:{reference.repository}{path}{revision}{asked}", license=found.license, notes=found.notes)
        key = hashlib.sha256("\n".join(f"{each.wanted.sha256} {each.wanted.url}" for each in found.remotes).encode())
        with resumable(store.staging, key.hexdigest()[:32]) as folder:
            if found.pipeline is not None:
                yield fetch_pipeline(store, found.pipeline, folder, report, terms)
            else:
                yield Staged(fetch_all(store, found.remotes, folder, report), terms, folder)

    @functools.cached_property
    def _found(self) -> Found:
        from freehold.store.sources.hub import Hub  # httpx and all that: only for who needs it

        return find(Hub(), self._reference, self._sha256)


def find(hub: Hub, reference: Reference, sha256: str | None = None) -> Found:
    """Asks the hub, and chooses the files. Raises StoreError with what there is, SourceUnreachable."""
    info = hub.info(reference.repository, reference.revision)
    files = _files(info, ".gguf")
    everything = _files(info, "")
    if not files and pipelines.INDEX in everything and reference.asked is None and sha256 is None:
        return _pipeline(hub, reference, everything, info)
    chosen = quants.choose(quants.candidates(files), reference.asked)
    projector = quants.projector(files, chosen.paths[0])
    revision = _revision(info, reference)
    if sha256 and (len(chosen.paths) > 1 or files[chosen.paths[0]].get("sha256") not in (None, sha256)):
        raise StoreError(f"{chosen.paths[0]} does not have the sha256 that was given.", "Check both, or leave --sha256 out.")

    def remote(role: Role, path: str) -> Remote:
        known = files[path] if role != "weights" or sha256 is None else {"sha256": sha256, **files[path]}
        return _remote(hub, reference.repository, revision, known, (role, path, path.rpartition("/")[2]))

    remotes = [remote("weights", path) for path in chosen.paths]
    if projector is not None:
        remotes.append(remote("projector", projector))
    return Found(revision, tuple(remotes), _license(info))


def _pipeline(hub: Hub, reference: Reference, files: Mapping[str, dict[str, Any]], info: Any) -> Found:
    """A repository that holds a pipeline of diffusers."""
    revision = _revision(info, reference)
    remotes = {path: _remote(hub, reference.repository, revision, known, ("part", path, path)) for path, known in files.items()}
    found = Pipeline(reference.repository.rpartition("/")[2], remotes)
    return Found(revision, (remotes[pipelines.INDEX],), _license(info), pipeline=found)


def _remote(hub: Hub, repository: str, revision: str, known: Mapping[str, Any], file: tuple[Role, str, str]) -> Remote:
    """`file` is its role, its path in the repository, and its name."""
    role, path, name = file
    explain = functools.partial(hub.explain, repository)
    url = hub.url(repository, path, revision)
    return Remote(role, name, Wanted(url, known.get("sha256"), known.get("size"), hub.secrets, explain))


def _revision(info: Any, reference: Reference) -> str:
    """The commit that is pulled, where the hub names it: all files are of one state then."""
    known = isinstance(info.sha, str) and re.fullmatch(r"[0-9a-f]{40}", info.sha)
    return info.sha if known else reference.revision or "main"


def listed(info: Any) -> Mapping[str, dict[str, Any]]:
    """All files of a repository, as `_files`."""
    return _files(info, "")


def _files(info: Any, ending: str) -> Mapping[str, dict[str, Any]]:
    """The files of a repository with that ending, with what is known of each. Names that could be anything else are passed
    over."""
    found: dict[str, dict[str, Any]] = {}
    for file in info.siblings or ():
        name, size, lfs = file.rfilename, file.size, file.lfs
        if not isinstance(name, str) or len(name) > 500 or not _PATH.fullmatch(name) or _climbs(name):
            continue
        if not name.lower().endswith(ending):
            continue
        known: dict[str, Any] = {"size": size} if type(size) is int and size > 0 else {}
        if lfs is not None:
            with contextlib.suppress(StoreError, TypeError):
                check_digest(f"sha256:{lfs.sha256}")
                known["sha256"] = lfs.sha256
        found[name] = known
    return found


def _climbs(path: str) -> bool:
    return any(piece in ("", ".", "..") or piece.startswith(".") for piece in path.split("/"))


def _license(info: Any) -> str | None:
    card = info.card_data
    found = card.get("license") if card is not None else None
    other = card.get("license_name") if card is not None else None
    named = other if found == "other" and isinstance(other, str) else found
    return named[:100] if isinstance(named, str) and named.isprintable() else None
