"""Installing a model from wherever it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from freehold.errors import StoreError
from freehold.store import disk
from freehold.store.bundled import FromInstall
from freehold.store.bundled import install as install_bundled
from freehold.store.install import install
from freehold.store.manifest import Manifest
from freehold.store.names import check_name
from freehold.store.progress import OnProgress
from freehold.store.references import OLLAMA, resolve
from freehold.store.sources.file import FromFile
from freehold.store.staged import Source
from freehold.store.store import Store


def pull(
    store: Store,
    reference: str,
    *,
    name: str | None = None,
    sha256: str | None = None,
    registry: str = OLLAMA,
    projector: Path | None = None,
    on_progress: OnProgress,
) -> Manifest:
    """Installs what `reference` names (`references` lists the kinds). `registry` is the address of Ollama's, or a mirror of it;
    `projector` a file on this machine that lets a model see which is one, too.

    Waits for another pull of the same model. Raises StoreError and its kinds, and InvalidRequest for a name that is none.
    Whatever happens, the store holds the whole model or what it held before.
    """
    with disk.translated():
        source = resolve(reference, sha256, data_dir=store.data_dir, registry=registry)
        if projector is not None:
            source = _seeing(source, projector)
        model = check_name(name or source.name)
        with store.pulling(model):
            if store.has(model) and source.is_in(installed := store.get(model)):
                return installed
            if isinstance(source, FromInstall):
                return install_bundled(store, model)
            with source.stage(store, on_progress) as staged:
                return install(store, model, staged, on_progress)


def _seeing(source: Source, projector: Path) -> Source:
    if not isinstance(source, FromFile):
        raise StoreError(
            "Only a file on this machine is given a projector.", "Other sources bring their own; leave --projector out."
        )
    return replace(source, projector=projector.expanduser().absolute())
