"""A server with a tiny model that draws."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import CACHE, Server, fake_model, serving

# A busy machine takes its time to import torch.
ENV = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_PRELOAD": "false", "FREEHOLD_QUEUE_TIMEOUT": "300"}


@contextlib.contextmanager
def drawing_server(model: Path, data: Path) -> Iterator[Server]:
    """`freehold up` over a data folder with that pipeline, named "tiny", and the engine for it."""
    (data / "engines").symlink_to(CACHE / "engines")
    pull(Store(data), str(model), name="tiny", on_progress=lambda progress: None)
    fake_model(data)
    with serving(data, env=ENV, ready=False) as server:
        yield server
