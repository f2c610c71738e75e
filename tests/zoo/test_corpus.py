"""Damaged model files, hundreds of them: each is refused by the reader, or fails or serves in a worker of its own."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo import corpus
from tests.zoo.mutations import Mutation, mutations
from tests.zoo.test_zoo import ENGINE

COUNT = 600
IN_WORKERS = 12  # `make soak ARGS=damaged-files` gives all of them to workers


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> list[Mutation]:
    """Those that the reader takes; it has refused the others, and done nothing else to them."""
    taken, path = [], tmp_path_factory.mktemp("read") / "m.gguf"
    for mutation in mutations(tmp_path_factory.mktemp("good"), COUNT):
        began = time.monotonic()
        reason = corpus.read(mutation, path)
        assert time.monotonic() - began < 10, mutation.name
        assert reason is None or str(path) not in reason
        if reason is None:
            taken.append(mutation)
    return taken


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Store]]:
    data = tmp_path_factory.mktemp("corpus")
    fake_model(data)
    with serving(data, env=ENGINE, ready=False) as running:
        yield running, Store(data)


def test_of_hundreds_of_damaged_files_the_reader_refuses_many_and_stumbles_over_none(passing: list[Mutation]) -> None:
    assert COUNT / 4 < len(passing) < COUNT * 3 / 4  # weights and words may be anything; places and counts may not


def test_what_the_reader_takes_fails_or_serves_in_a_worker_and_harms_nobody(
    passing: list[Mutation], server: tuple[Server, Store], tmp_path: Path
) -> None:
    running, store = server
    outcomes = [corpus.run(mutation, running, store, tmp_path) for mutation in random.Random(1).sample(passing, IN_WORKERS)]
    kinds = Counter(outcome.kind for outcome in outcomes)
    assert kinds["served"]
    assert kinds["failed"]
    assert all(outcome.seconds < corpus.LONGEST for outcome in outcomes)
    assert all(len(outcome.reason) > 20 for outcome in outcomes if outcome.kind == "failed")
    assert running.process.poll() is None
    assert running.chat("hello", model="fake")[0] == 200
