"""A store of one's own, and a web server beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.store.store import Store
from tests.store.parts import Web, web_server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    root = tmp_path / "web"
    root.mkdir()
    with web_server(root) as running:
        yield running
