"""Ollama's names and image manifests (types/model/name.go and manifest/ in ollama/ollama).

A manifest is that of a Docker image (schema 2): a list of layers, each with a media type, a digest and a size in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from freehold.errors import BadModelFile, StoreError
from freehold.store.manifest import check_digest

Kind = Literal["model", "projector", "template", "params", "license", "system", "adapter", "messages"]

LARGEST_MANIFEST = 4 << 20  # bytes; a real one has about a thousand
LARGEST_TEXT = 1 << 20  # bytes of a template, parameters or a licence
_MOST_LAYERS = 100
_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "application/vnd.ollama.image.model": "model",
        "application/vnd.ollama.image.projector": "projector",
        "application/vnd.ollama.image.template": "template",
        "application/vnd.ollama.image.params": "params",
        "application/vnd.ollama.image.license": "license",
        "application/vnd.ollama.image.system": "system",
        "application/vnd.ollama.image.adapter": "adapter",
        "application/vnd.ollama.image.messages": "messages",
    }
)
_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?:(?P<namespace>{_WORD})/)?(?P<model>{_WORD})(?::(?P<tag>{_WORD}))?")


@dataclass(frozen=True)
class ImageName:
    """`qwen3:4b` is library/qwen3:4b; a missing tag is "latest"."""

    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        """The shortest form, without "library" and "latest"."""
        space = "" if self.namespace == "library" else f"{self.namespace}/"
        return f"{space}{self.model}" + ("" if self.tag == "latest" else f":{self.tag}")


@dataclass(frozen=True)
class Layer:
    """A blob of an image. `size` is in bytes."""

    kind: Kind
    digest: str
    size: int

    @property
    def sha256(self) -> str:
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True)
class Image:
    """The layers of a model that can be run here: exactly one of kind "model"."""

    layers: tuple[Layer, ...]

    @property
    def model(self) -> Layer:
        return next(layer for layer in self.layers if layer.kind == "model")

    def first(self, kind: Kind) -> Layer | None:
        return next((layer for layer in self.layers if layer.kind == kind), None)


def image_name(text: str) -> ImageName:
    """Raises StoreError for what is no name of Ollama's registry."""
    found = _NAME.fullmatch(text)
    if not found or ".." in text:
        raise StoreError(f"{text[:120]!a} is no name of Ollama's registry.", "It looks like ollama:qwen3:4b.")
    return ImageName(found["namespace"] or "library", found["model"], found["tag"] or "latest")


def image(data: Any, name: ImageName) -> Image:
    """The image in a manifest's JSON, each layer checked. Raises BadModelFile for what is none, or cannot be run here."""
    raw = data.get("layers") if isinstance(data, dict) else None
    if not isinstance(raw, list) or len(raw) > _MOST_LAYERS:
        raise BadModelFile(f"What is said to be {name} is no model of Ollama's.", "Check the name, and the registry.")
    types = {str(layer.get("mediaType")).partition(";")[0] for layer in raw if isinstance(layer, dict)}
    layers = tuple(found for item in raw if (found := _layer(item, name)) is not None)
    models = [layer for layer in layers if layer.kind == "model"]
    if not models and "application/vnd.ollama.image.tensor" in types:
        raise BadModelFile(f"{name} is stored tensor by tensor, which no engine here reads.", "Choose one in GGUF.")
    if len(models) != 1:
        raise BadModelFile(f"{name} has {len(models)} files of weights; it needs one.", "Choose another model or tag.")
    if any(layer.kind == "adapter" for layer in layers):
        raise BadModelFile(f"{name} is an adapter (LoRA) over another model, which is not served.", "Choose a whole model.")
    return Image(layers)


def _layer(item: Any, name: ImageName) -> Layer | None:
    """A layer of a known kind. Its digest becomes a path and part of an address, so it is looked at before all else."""
    bad = BadModelFile(f"The manifest of {name} names a layer that makes no sense.", "Do not trust that registry.")
    if not isinstance(item, dict) or not isinstance(item.get("mediaType"), str):
        raise bad
    digest, size = item.get("digest"), item.get("size")
    if not isinstance(digest, str) or type(size) is not int or not 0 <= size < 1 << 50:
        raise bad
    try:
        check_digest(digest)
    except StoreError:
        raise bad from None
    kind = _KINDS.get(item["mediaType"].partition(";")[0])
    if kind is None or size == 0:
        return None
    if kind not in ("model", "projector") and size > LARGEST_TEXT:
        raise bad
    return Layer(kind, digest, size)
