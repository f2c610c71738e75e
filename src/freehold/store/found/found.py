"""The models of other programs as manifests, each looked into once for as long as its files stay as they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from freehold.errors import NotInstalled, StoreError
from freehold.store.found.candidate import Candidate
from freehold.store.found.folders import hub, llamacpp, lmstudio
from freehold.store.found.ollama import ollama
from freehold.store.found.roots import Roots
from freehold.store.install import check_projector, described, license_in, task_of
from freehold.store.manifest import File, Manifest, Role
from freehold.store.ollama.templates import TEMPLATES

_Stamp = tuple[tuple[str, int, int], ...]
_FINDERS: Mapping[str, Callable[[Path], Iterator[Candidate]]] = MappingProxyType(
    {"ollama": ollama, "lmstudio": lmstudio, "hf": hub, "llamacpp": llamacpp}
)
PROGRAMS = frozenset(_FINDERS)  # what the names of these models begin with


class Found:
    """What other programs have. Their folders are looked at anew whenever that is asked; only headers are remembered."""

    def __init__(self, roots: Roots):
        self._roots: Mapping[str, tuple[Path, ...]] = {
            "ollama": roots.ollama,
            "lmstudio": roots.lmstudio,
            "hf": roots.hub,
            "llamacpp": roots.llamacpp,
        }
        self._known: dict[str, tuple[_Stamp, Manifest]] = {}

    def all(self) -> tuple[list[Manifest], list[StoreError]]:
        """The models that can be used, by name, and what is wrong with the others."""
        usable, problems = [], []
        for name, candidate in sorted(self._candidates(self._roots).items()):
            try:
                usable.append(self._manifest(candidate))
            except StoreError as error:
                problems.append(StoreError(f"{name}: {error.message}", error.remedy))
        return usable, problems

    def get(self, name: str) -> Manifest:
        """Raises NotInstalled, or what makes its files unusable."""
        kind = name.partition("/")[0]
        if kind not in self._roots:
            raise NotInstalled(f"The model {name} is not on this machine.", "See what is: freehold list --all")
        known = self._known.get(name)
        if known is not None and known[0] == _stamp(Path(path) for path, _, _ in known[0]):
            return known[1]
        candidate = self._candidates({kind: self._roots[kind]}).get(name)
        if candidate is None:
            gone = " any more: its files are gone" if self._known.pop(name, None) else ""
            raise NotInstalled(f"The model {name} is not on this machine{gone}.", "See what is: freehold list --all")
        return self._manifest(candidate)

    def _candidates(self, roots: Mapping[str, tuple[Path, ...]]) -> dict[str, Candidate]:
        """By name; of two with the same name the first counts."""
        found: dict[str, Candidate] = {}
        for kind, folders in roots.items():
            for folder in dict.fromkeys(folders):
                for candidate in _FINDERS[kind](folder):
                    found.setdefault(candidate.name, candidate)
        return found

    def _manifest(self, candidate: Candidate) -> Manifest:
        stamp = _stamp(candidate.paths)
        known = self._known.get(candidate.name)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            manifest = _looked_into(candidate)
        except OSError as error:
            raise StoreError(
                f"The file of the model {candidate.name} cannot be read: {error.strerror}.", "Check its permissions."
            ) from None
        self._known[candidate.name] = (stamp, manifest)
        return manifest


def _looked_into(candidate: Candidate) -> Manifest:
    header, facts = described(list(candidate.weights))
    if candidate.projector is not None:
        check_projector(candidate.projector)
    lying = [_file("weights", path, candidate) for path in candidate.weights]
    if candidate.projector is not None:
        lying.append(_file("projector", candidate.projector, candidate))
    if candidate.family is not None and facts.chat_template is None:
        template = Path(str(files("freehold.store"))) / TEMPLATES / f"{candidate.family}.jinja"
        lying.append(_file("chat_template", template, candidate))
    version = hashlib.sha256(" ".join(file.identity for file in lying).encode()).hexdigest()[:16]
    return Manifest(
        name=candidate.name,
        task=task_of(facts),
        engine="llama.cpp",
        files=tuple(lying),
        source=candidate.source,
        license=license_in(header.metadata),
        created=max(file.modified or 0 for file in lying) // 10**9,
        facts=facts,
        sampling=candidate.sampling,
        # Other bytes at the same place are another model: what runs must not go on for it.
        options={**candidate.options, "version": version},
        notes=candidate.notes,
        system=candidate.system,
        examples=candidate.examples,
    )


def _file(role: Role, path: Path, candidate: Candidate) -> File:
    found = path.stat()
    return File(role, path.name, candidate.digests.get(path), found.st_size, str(path.absolute()), found.st_mtime_ns)


def _stamp(paths: Iterator[Path] | tuple[Path, ...]) -> _Stamp:
    """Size and last change of each file; of one that is gone, neither."""
    stamps = []
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116 - once for every request of such a model
            stamps.append((str(path), found.st_size, found.st_mtime_ns))
        except OSError:
            stamps.append((str(path), -1, -1))
    return tuple(stamps)
