"""Ollama's own models: `manifests/<registry>/<namespace>/<model>/<tag>` and `blobs/sha256-<hex>`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from freehold.errors import StoreError
from freehold.store.found.candidate import Candidate, named
from freehold.store.ollama.image import LARGEST_MANIFEST, LARGEST_TEXT, Image, ImageName, Layer, image, image_name
from freehold.store.ollama.messages import said_before
from freehold.store.ollama.parameters import Parameters, parameters
from freehold.store.ollama.templates import family_of, translated

_MOST = 5000


def ollama(root: Path) -> Iterator[Candidate]:
    for number, path in enumerate(sorted((root / "manifests").glob("*/*/*/*"))):
        if number >= _MOST:
            return
        if not path.name.startswith(".") and (found := _candidate(root, path)) is not None:
            yield found


def _candidate(root: Path, path: Path) -> Candidate | None:
    """The model of a manifest; None for one that cannot be run here, or is being pulled."""
    namespace, model, tag = path.parent.parent.name, path.parent.name, path.name
    try:
        name = image_name(f"{namespace}/{model}:{tag}")
        found = image(json.loads(_read(path, LARGEST_MANIFEST)), name)
        blobs = {layer: root / "blobs" / layer.digest.replace(":", "-") for layer in found.layers}
        settings = _parameters(found, blobs)
        family, notes = _template(found, blobs)
        before = said_before(found, lambda layer: _text(layer, blobs))
    except (StoreError, OSError, ValueError, RecursionError):
        return None
    projector = found.first("projector")
    paths = [blobs[found.model], *([blobs[projector]] if projector else [])]
    public = _public(name, path.parent.parent.parent.name)
    if public is None or not all(each.is_file() for each in paths):
        return None
    return Candidate(
        public,
        f"ollama:{name}",
        (paths[0],),
        paths[1] if projector else None,
        {blobs[layer]: layer.digest for layer in found.layers},
        settings.sampling,
        settings.options,
        (*settings.notes, *notes, *before.notes),
        family,
        before.system,
        before.examples,
    )


def _public(name: ImageName, registry: str) -> str | None:
    """`ollama/qwen3:4b`; models of another registry or namespace say which."""
    words = [] if registry == "registry.ollama.ai" else [registry]
    words += [] if name.namespace == "library" and not words else [name.namespace]
    head, tag = named("ollama", *words, name.model), named(name.tag)
    return f"{head}:{tag}" if head and tag else None


def _parameters(found: Image, blobs: dict[Layer, Path]) -> Parameters:
    layer = found.first("params")
    return parameters(json.loads(_text(layer, blobs))) if layer is not None else Parameters()


def _template(found: Image, blobs: dict[Layer, Path]) -> tuple[str | None, tuple[str, ...]]:
    layer = found.first("template")
    if layer is None:
        return None, ()
    text = _text(layer, blobs)
    return family_of(text), translated(text)[1]


def _text(layer: Layer, blobs: dict[Layer, Path]) -> str:
    data = _read(blobs[layer], LARGEST_TEXT)
    if hashlib.sha256(data).hexdigest() != layer.sha256:
        raise ValueError("not the layer that its manifest names")
    return data.decode("utf-8", "replace")


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError("larger than it can be")
    return data
