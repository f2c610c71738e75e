"""Models from Ollama's registry: `ollama:name[:tag]`, `ollama:namespace/name[:tag]`.

The registry speaks the protocol of Docker's (OCI distribution spec): /v2/<namespace>/<model>/manifests/<tag> names the layers,
/v2/<namespace>/<model>/blobs/<digest> gives them, usually by a redirect to where they are stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from freehold.errors import DigestMismatch, SourceUnreachable, StoreError
from freehold.store.manifest import Manifest, Role
from freehold.store.ollama.image import LARGEST_MANIFEST, LARGEST_TEXT, Image, ImageName, Kind, Layer, image
from freehold.store.ollama.messages import said_before
from freehold.store.ollama.parameters import Parameters, parameters
from freehold.store.ollama.templates import translated
from freehold.store.progress import OnProgress
from freehold.store.sources import addresses, web
from freehold.store.sources.download import Wanted
from freehold.store.sources.remote import Remote, fetch_all
from freehold.store.sources.transfer import LIMITS, Tries
from freehold.store.staged import Staged, Terms
from freehold.store.staging import resumable
from freehold.store.store import Store

_ACCEPT = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
_ROLES: tuple[tuple[Kind, Role], ...] = (("model", "weights"), ("projector", "projector"))


@dataclass(frozen=True)
class FromOllama:
    """A source: a model of the registry at that address."""

    image: ImageName
    registry: str

    @property
    def name(self) -> str:
        return str(self.image)

    @property
    def source(self) -> str:
        return f"ollama:{self.image}"

    def is_in(self, installed: Manifest) -> bool:
        return False  # a tag moves: only the registry tells

    @contextlib.contextmanager
    def stage(self, store: Store, report: OnProgress) -> Iterator[Staged]:
        addresses.check(self.registry)
        found = image(self._json("manifests", self.image.tag, LARGEST_MANIFEST), self.image)
        settings = self._parameters(found)
        fallback, notes = self._template(found)
        before = said_before(found, self._text)
        terms = Terms(
            self.source,
            license=self._license(found),
            sampling=settings.sampling,
            options=settings.options,
            system=before.system,
            examples=before.examples,
            notes=(*settings.notes, *notes, *before.notes),
        )
        layers = [(role, found.first(kind)) for kind, role in _ROLES]
        remotes = [Remote(role, f"{self.image}", self._wanted(layer)) for role, layer in layers if layer is not None]
        key = hashlib.sha256(" ".join(str(each.wanted.sha256) for each in remotes).encode()).hexdigest()[:32]
        with resumable(store.staging, key) as folder:
            yield Staged(fetch_all(store, remotes, folder, report), terms, folder, fallback=fallback)

    def _parameters(self, found: Image) -> Parameters:
        layer = found.first("params")
        if layer is None:
            return Parameters()
        try:
            return parameters(json.loads(self._text(layer)))
        except (ValueError, RecursionError):
            return parameters(None)

    def _template(self, found: Image) -> tuple[str | None, tuple[str, ...]]:
        layer = found.first("template")
        return translated(self._text(layer)) if layer is not None else (None, ())

    def _license(self, found: Image) -> str | None:
        layer = found.first("license")
        return license_of(self._text(layer)) if layer is not None else None

    def _wanted(self, layer: Layer) -> Wanted:
        return Wanted(self._url("blobs", layer.digest), layer.sha256, layer.size, explain=self._explain)

    def _text(self, layer: Layer) -> str:
        """A small layer, checked against its digest."""
        data = self._read("blobs", layer.digest, LARGEST_TEXT)
        if hashlib.sha256(data).hexdigest() != layer.sha256:
            raise DigestMismatch(f"A layer of {self.source} does not have the sha256 that its manifest names.", "Try again.")
        return data.decode("utf-8", "replace")

    def _json(self, kind: str, key: str, limit: int) -> Any:
        try:
            return json.loads(self._read(kind, key, limit))
        except (ValueError, RecursionError):
            raise SourceUnreachable(f"What {self._host} answers is not JSON.", "Is that the right registry?") from None

    def _read(self, kind: str, key: str, limit: int) -> bytes:
        tries = Tries(LIMITS, self._host)
        while True:
            with tries.again():
                try:
                    return web.read(self._url(kind, key), headers=_ACCEPT, limit=limit)
                except web.Refused as refused:
                    if explained := self._explain(refused):
                        raise explained from None
                    raise

    def _explain(self, refused: web.Refused) -> StoreError | None:
        match refused.status:
            case 404:
                return SourceUnreachable(f"{self._host} has no model {self.image}.", "Check the name and the tag.")
            case 401 | 403:
                return SourceUnreachable(
                    f"{self._host} does not give {self.image} to everyone, and Freehold has no login there.",
                    "Pull it with Ollama; `freehold list --all` then shows it.",
                )
        return None

    def _url(self, kind: str, key: str) -> str:
        return f"{self.registry.rstrip('/')}/v2/{self.image.namespace}/{self.image.model}/{kind}/{key}"

    @property
    def _host(self) -> str:
        return urlsplit(self.registry).netloc


_LICENSES = (
    ("Apache License", "Apache-2.0"),
    ("MIT License", "MIT"),
    ("BSD 3-Clause", "BSD-3-Clause"),
)


def license_of(text: str) -> str | None:
    """A licence by the first words of its text; a text that is not known is named by its first line."""
    for words, name in _LICENSES:
        if words.lower() in text[:2000].lower():
            return name
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first[:100] if first.isprintable() and first else None
