"""What an engine cannot load fails soon, with the engine's own reason, and costs the other models nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo.broken import Broken, broken
from tests.zoo.build import write
from tests.zoo.shapes import zoo
from tests.zoo.test_zoo import ENGINE

GOOD = "llama-gqa"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    fake_model(folder)
    path = write(next(shape for shape in zoo() if shape.name == GOOD), tmp_path_factory.mktemp("good"))
    pull(Store(folder), str(path), name=GOOD, on_progress=lambda progress: None)
    return folder


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    with serving(data, env=ENGINE, ready=False) as running:
        assert running.chat("hello", model=GOOD, max_tokens=1)[0] == 200
        yield running


@pytest.mark.parametrize("model", broken(), ids=lambda model: model.shape.name)
def test_a_model_that_cannot_load_says_why_and_the_others_go_on(
    model: Broken, data: Path, server: Server, tmp_path: Path
) -> None:
    name, good = model.shape.name, server.worker(GOOD)
    pull(Store(data), str(write(model.shape, tmp_path)), name=name, on_progress=lambda progress: None)
    began = time.monotonic()
    status, headers, body = server.chat("hello", model=name, max_tokens=1)
    assert time.monotonic() - began < 30
    assert (status, body["error"]["code"]) == (503, "model_failed")
    assert model.reason in body["error"]["message"]
    assert str(data) not in body["error"]["message"]
    assert "/" not in body["error"]["message"]  # no path, of this machine or the engine's
    assert int(headers["retry-after"]) >= 1
    assert server.chat("hello", model=GOOD, max_tokens=1)[0] == 200
    assert (server.worker(GOOD)["pid"], server.worker(GOOD)["restarts"]) == (good["pid"], good["restarts"])
    assert server.request("DELETE", f"/v1/models/{name}")[0] == 200


def test_a_template_without_an_end_fails_in_time_and_others_get_their_turn(data: Path, tmp_path: Path) -> None:
    """The engine tries a chat template out when it loads; loads take turns."""
    bare = next(shape for shape in zoo() if shape.name == "llama-q8")
    loop = "{% for a in range(100000000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"
    pull(Store(data), str(write(replace(bare, template=loop), tmp_path)), name="endless", on_progress=lambda progress: None)
    with serving(data, env=ENGINE | {"FREEHOLD_TIMEOUTS_LOAD": "5"}, ready=False) as running:
        status, _, body = running.chat("hello", model="endless", max_tokens=1)
        assert (status, body["error"]["code"]) == (503, "model_failed")
        assert "not ready" in body["error"]["message"]
        assert running.chat("hello", model=GOOD, max_tokens=1)[0] == 200
    Store(data).remove("endless")


def test_a_broken_template_is_the_reason_that_is_given(data: Path, server: Server, tmp_path: Path) -> None:
    shape = replace(next(shape for shape in zoo() if shape.name == "llama-q8"), template="{{ messages ")
    pull(Store(data), str(write(shape, tmp_path)), name="unclosed", on_progress=lambda progress: None)
    status, _, body = server.chat("hello", model="unclosed", max_tokens=1)
    assert status == 503
    assert "template" in body["error"]["message"]
    assert "jinja via" not in body["error"]["message"]  # the engine's advice is for its own command line
