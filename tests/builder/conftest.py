"""The stand-in's registry, and what the prebuilt engine says to the smoke test's model."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.builder import smoke
from freehold.builder.sample import write_sample
from freehold.fleet.builds import prebuilt
from tests.builder.parts import Registry
from tests.store.parts import web_server

needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("cc", "c++", "cmake", "ninja"))), reason="needs cmake, ninja and a C compiler"
)


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """The smoke test's answer by the prebuilt engine."""
    folder = tmp_path_factory.mktemp("s")
    return asyncio.run(smoke._answer(prebuilt(), write_sample(folder / "sample.gguf"), "auto", folder))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "registry").mkdir()
    with web_server(tmp_path / "registry") as web:
        yield Registry(web.root, web.url)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder
