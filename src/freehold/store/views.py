"""Models in several files, as an engine wants to see them.

llama.cpp is given the first part, `…-00001-of-00003.gguf`, and looks for the others beside it under the names that follow
(llama_split_path in llama.cpp); a model that is a folder has its files under their own names. Blobs have no such names, so each
such model gets a folder of links that do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from freehold.store.manifest import File, Manifest


class Views:
    """The folders of links below one folder. A view is named after its files' names and bytes, so it never changes once it is
    there."""

    def __init__(self, root: Path):
        self._root = root

    @staticmethod
    def wanted(manifest: Manifest) -> bool:
        """Whether the model has parts in the store. Parts outside already lie beside each other."""
        parts = manifest.all("weights")
        return bool(manifest.all("part")) or (len(parts) > 1 and all(part.path is None for part in parts))

    def first(self, manifest: Manifest) -> Path:
        """The link to the first part of the weights."""
        return self.folder(manifest) / part_name(1, len(manifest.all("weights")))

    def has(self, manifest: Manifest) -> bool:
        """Whether the model's view is there, or none is needed."""
        if not self.wanted(manifest):
            return True
        folder = self.folder(manifest)
        return all((folder / name).exists() for name in _links(manifest))

    def make(self, manifest: Manifest, paths: Mapping[File, Path]) -> None:
        """Makes the model's view where it needs one; `paths` says where each part is."""
        if not self.wanted(manifest) or self.has(manifest):
            return
        folder, links = self.folder(manifest), _links(manifest)
        shutil.rmtree(folder, ignore_errors=True)
        self._root.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=self._root, prefix=".new-"))
        for name, file in links.items():
            link = new / name
            link.parent.mkdir(parents=True, exist_ok=True)
            # Relative, so that the whole data folder can be moved.
            link.symlink_to(os.path.relpath(paths[file], link.parent))
        new.chmod(0o755)
        new.replace(folder)

    def sweep(self, manifests: Iterable[Manifest]) -> None:
        """Removes the views of all but these models."""
        if not self._root.exists():
            return
        kept = {self.folder(manifest).name for manifest in manifests if self.wanted(manifest)}
        for folder in self._root.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def folder(self, manifest: Manifest) -> Path:
        """Where the model's view is, or would be."""
        if manifest.all("part"):
            named = "\n".join(f"{name} {file.identity}" for name, file in sorted(_links(manifest).items()))
        else:
            named = " ".join(part.digest or "" for part in manifest.all("weights"))
        return self._root / hashlib.sha256(named.encode()).hexdigest()[:32]


def _links(manifest: Manifest) -> dict[str, File]:
    """The files of a model's view, by their paths in it."""
    if parts := manifest.all("part"):
        return {part.name: part for part in parts}
    weights = manifest.all("weights")
    return {part_name(number, len(weights)): part for number, part in enumerate(weights, 1)}


def part_name(number: int, count: int) -> str:
    """The name of a part, counted from 1, in a view."""
    return f"model-{number:05d}-of-{count:05d}.gguf"
