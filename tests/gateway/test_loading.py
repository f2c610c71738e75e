"""Models go in and out of memory when somebody says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Server, fake_model, serving, until
from tests.gateway.test_faults import CHAT, Stream, assert_ends_with_an_error_event, directive


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("data")
    fake_model(data)
    fake_model(data, "other")
    fake_model(data, "broken", die_at_load=True)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_WORKER_CRASH_BUDGET": "1",
    }
    with serving(data, env=environment) as running:
        yield running


def states(server: Server) -> dict[str, str]:
    return {worker["model"]: worker["state"] for worker in server.get("/api/ps")[2]["workers"]}


def test_a_model_is_loaded_and_unloaded(server: Server) -> None:
    status, _, body = server.post("/api/load", {"model": "other", "keep_alive": "10m"})
    assert (status, body["worker"]["state"], body["worker"]["progress"]) == (200, "ready", 1.0)
    assert states(server)["other"] == "ready"
    assert server.post("/api/unload", {"model": "other"})[2] == {"model": "other", "unloaded": True}
    assert "other" not in states(server)
    assert server.post("/api/unload", {"model": "other"})[2] == {"model": "other", "unloaded": False}


def test_a_model_that_answers_somebody_is_unloaded_by_force_alone(server: Server) -> None:
    stream = Stream(server, directive(tokens=10_000, token_delay_s=0.01))
    stream.event()
    status, _, body = server.post("/api/unload", {"model": "fake"})
    assert (status, body["error"]["code"]) == (409, "conflict")
    assert server.post("/api/unload", {"model": "fake", "force": True})[0] == 200
    assert_ends_with_an_error_event(stream.events())
    assert server.chat("hello")[0] == 200  # a request brings it back


def test_a_failed_model_is_not_started_by_requests_but_by_an_order(server: Server) -> None:
    body = {"model": "broken", "messages": [{"role": "user", "content": "hello"}]}
    server.post(CHAT, body)
    until(lambda: server.worker("broken")["given_up"])
    restarts = server.worker("broken")["restarts"]
    for _ in range(3):
        status, headers, answer = server.post(CHAT, body)
        assert (status, answer["error"]["code"]) == (503, "model_failed")
        assert "weights are corrupt" in answer["error"]["message"]
        assert int(headers["retry-after"]) > 60
    assert server.worker("broken")["restarts"] == restarts
    assert server.post("/api/load", {"model": "broken"})[0] == 503
    until(lambda: server.worker("broken")["restarts"] == restarts + 1)
    assert server.chat("hello")[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/api/load", {}, 400, "model"),
        ("/api/load", {"model": "nothing"}, 404, "model"),
        ("/api/load", {"model": "fake", "keep_alive": "soon"}, 400, "keep_alive"),
        ("/api/load", {"model": "fake", "force": True}, 400, "force"),
        ("/api/unload", {"model": "fake", "force": "yes"}, 400, "force"),
        ("/api/unload", {"model": "../fake"}, 400, "model"),
    ],
)
def test_what_is_wrong_is_named(server: Server, path: str, body: dict[str, Any], status: int, param: str) -> None:
    answered, _, answer = server.post(path, body)
    assert (answered, answer["error"]["param"]) == (status, param)
