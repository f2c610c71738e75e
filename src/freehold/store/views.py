"""Models in several parts, as an engine wants to see them.

llama.cpp is given the first part, `…-00001-of-00003.gguf`, and looks for the others beside it under the names that follow
(llama_split_path in llama.cpp). Blobs have no such names, so each such model gets a folder of links that do.
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
    """The folders of links below one folder. A view is named after the parts' bytes, so it never changes once it is there."""

    def __init__(self, root: Path):
        self._root = root

    @staticmethod
    def wanted(manifest: Manifest) -> bool:
        """Whether the model has parts in the store. Parts outside already lie beside each other."""
        parts = manifest.all("weights")
        return len(parts) > 1 and all(part.path is None for part in parts)

    def first(self, manifest: Manifest) -> Path:
        """The link to the first part."""
        return self._folder(manifest) / part_name(1, len(manifest.all("weights")))

    def has(self, manifest: Manifest) -> bool:
        """Whether the model's view is there, or none is needed."""
        if not self.wanted(manifest):
            return True
        count = len(manifest.all("weights"))
        return all((self._folder(manifest) / part_name(number, count)).exists() for number in range(1, count + 1))

    def make(self, manifest: Manifest, paths: Mapping[File, Path]) -> None:
        """Makes the model's view where it needs one; `paths` says where each part is."""
        if not self.wanted(manifest) or self.has(manifest):
            return
        folder, parts = self._folder(manifest), manifest.all("weights")
        shutil.rmtree(folder, ignore_errors=True)
        self._root.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=self._root, prefix=".new-"))
        for number, part in enumerate(parts, 1):
            # Relative, so that the whole data folder can be moved.
            (new / part_name(number, len(parts))).symlink_to(os.path.relpath(paths[part], new))
        new.chmod(0o755)
        new.replace(folder)

    def sweep(self, manifests: Iterable[Manifest]) -> None:
        """Removes the views of all but these models."""
        if not self._root.exists():
            return
        kept = {self._folder(manifest).name for manifest in manifests if self.wanted(manifest)}
        for folder in self._root.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, manifest: Manifest) -> Path:
        digests = " ".join(part.digest or "" for part in manifest.all("weights"))
        return self._root / hashlib.sha256(digests.encode()).hexdigest()[:32]


def part_name(number: int, count: int) -> str:
    """The name of a part, counted from 1, in a view."""
    return f"model-{number:05d}-of-{count:05d}.gguf"
