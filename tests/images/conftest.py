"""The engine that draws, made once for this machine, and tiny models for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.builder import environment
from freehold.builder.make import Place
from freehold.errors import SourceUnreachable, StoreError
from freehold.fleet import environments, shelf
from freehold.fleet.environments import Environment
from freehold.hardware.probe import probe
from freehold.settings import Settings
from tests.builder.conftest import home, registry  # noqa: F401 - fixtures
from tests.conftest import CACHE, Server
from tests.images.parts import write_sample
from tests.images.serving import drawing_server

_MADE_ELSEWHERE = 300.0  # seconds that another run of the tests may take to make it


@pytest.fixture(scope="session")
def engine() -> Environment:
    """The real one, as `freehold engine install diffusers` makes it; it stays here between runs. Tests that need it are skipped
    where no package index has what it is made of."""
    root, deadline = shelf.folder(CACHE), time.monotonic() + _MADE_ELSEWHERE
    while True:
        found = [each for each in environments.installed(root) if each.current and each.python.exists()]
        if found:
            return found[0]
        try:
            index = Settings().engine.torch_index
            return environment.install(Place(CACHE, probe()), "diffusers", index, None, lambda step: None)
        except SourceUnreachable as error:
            pytest.skip(f"the engine diffusers cannot be made here: {error}")
        except StoreError as error:
            if "another process" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)


@pytest.fixture(scope="session")
def tiny(engine: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion."""
    return write_sample(engine, tmp_path_factory.mktemp("tiny") / "model", "stable-diffusion")


@pytest.fixture(scope="session")
def tiny_flux(engine: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FLUX: packed latents, and a transformer."""
    return write_sample(engine, tmp_path_factory.mktemp("tiny") / "model", "flux")


@pytest.fixture(scope="session")
def drawer(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the tiny Stable Diffusion, named "tiny", and a chat model."""
    with drawing_server(tiny, tmp_path_factory.mktemp("data")) as server:
        yield server
