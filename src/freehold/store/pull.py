"""Installing a model from wherever it is."""

from __future__ import annotations

from freehold.store import disk
from freehold.store.install import install
from freehold.store.manifest import Manifest
from freehold.store.names import check_name
from freehold.store.progress import OnProgress
from freehold.store.references import OLLAMA, resolve
from freehold.store.store import Store


def pull(
    store: Store,
    reference: str,
    *,
    name: str | None = None,
    sha256: str | None = None,
    registry: str = OLLAMA,
    on_progress: OnProgress,
) -> Manifest:
    """Installs what `reference` names (`references` lists the kinds). `registry` is the address of Ollama's, or a mirror of it.

    Waits for another pull of the same model. Raises StoreError and its kinds, and InvalidRequest for a name that is none.
    Whatever happens, the store holds the whole model or what it held before.
    """
    with disk.translated():
        source = resolve(reference, sha256, data_dir=store.data_dir, registry=registry)
        model = check_name(name or source.name)
        with store.pulling(model):
            if store.has(model) and source.is_in(installed := store.get(model)):
                return installed
            with source.stage(store, on_progress) as staged:
                return install(store, model, staged, on_progress)
