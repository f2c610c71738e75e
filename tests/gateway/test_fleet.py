"""Several models within one memory: what comes in, what makes room, what is refused, and settings that change meanwhile."""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, fake_model, serving, until

GIB = 2**30
MODELS = ("red", "green", "blue")
CLIENTS = 12


def ask(server: Server, model: str, text: str = "hello", **fields: object) -> tuple[int, dict[str, str], dict[str, object]]:
    return server.post(
        "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}], **fields}, timeout=120
    )


def loaded(server: Server) -> set[str]:
    return {worker["model"] for worker in server.get("/api/ps")[2]["workers"] if worker["state"] == "ready"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Three models of a GiB each, and room for two."""
    for name in MODELS:
        fake_model(tmp_path, name, slots=8, memory_bytes=GIB)
    fake_model(tmp_path, "huge", memory_bytes=3 * GIB)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "red",
        "FREEHOLD_DEFAULT_EMBEDDING": "red",
        "FREEHOLD_MEMORY_BUDGET": "2 GiB",
        "FREEHOLD_MEMORY_TURN": "60",
        "FREEHOLD_QUEUE_SIZE": "200",
    }
    with serving(tmp_path, env=environment) as running:
        yield running


def test_three_models_share_the_room_of_two_with_the_fewest_evictions_and_no_request_fails(server: Server) -> None:
    """With 200 mixed requests at once, one model has to leave once: the loaded ones are served to their last request first."""
    wanted = random.Random(7).choices(MODELS, k=200)
    text = '[[fake:{"tokens": 3, "token_delay_s": 0.01}]]'
    most = 0
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        requests = [pool.submit(ask, server, model, text, max_tokens=3) for model in wanted]
        while any(not request.done() for request in requests):
            most = max(most, len(loaded(server)))
            concurrent.futures.wait(requests, timeout=0.05)
    assert [request.result()[0] for request in requests] == [200] * len(wanted)
    assert most <= 2
    assert server.metric("freehold_evictions") == 1


def test_a_model_too_large_for_the_machine_is_refused_with_figures_that_no_sdk_retries(server: Server) -> None:
    status, headers, body = ask(server, "huge")
    assert status == 503
    assert body["error"]["code"] == "insufficient_memory"  # type: ignore[index]
    assert "3.0 GiB" in body["error"]["message"]  # type: ignore[index]
    assert "2.0 GiB" in body["error"]["message"]  # type: ignore[index]
    assert headers["x-should-retry"] == "false"
    assert ask(server, "red")[0] == 200


def test_a_request_says_how_long_its_model_stays(server: Server) -> None:
    assert ask(server, "green")[0] == 200
    assert "green" in loaded(server)
    assert ask(server, "green", keep_alive=0)[0] == 200
    until(lambda: "green" not in loaded(server))
    assert ask(server, "green", keep_alive="1h")[0] == 200
    assert "green" in loaded(server)
    assert ask(server, "green", keep_alive="tomorrow")[2]["error"]["param"] == "keep_alive"  # type: ignore[index]


def test_the_default_model_that_made_room_still_counts_as_ready(server: Server) -> None:
    for model in ("green", "blue"):
        assert ask(server, model)[0] == 200
    assert loaded(server) == {"green", "blue"}
    assert server.ready()
    assert ask(server, "gpt-4o")[0] == 200


def test_memory_is_shown_as_planned(server: Server) -> None:
    assert ask(server, "green")[0] == 200
    memory = server.get("/api/ps")[2]["memory"]
    assert memory == [{"device": "host", "budget_bytes": 2 * GIB, "planned_bytes": 2 * GIB}]
    assert server.metric("freehold_memory_planned_bytes", device="host") == 2 * GIB


def test_new_settings_are_taken_on_sighup_and_no_running_request_notices(tmp_path: Path) -> None:
    fake_model(tmp_path, "red", slots=32)
    fake_model(tmp_path, "blue")
    config = tmp_path / "freehold.toml"
    config.write_text('default_chat = "red"\ndefault_embedding = "red"\n')
    with serving(tmp_path, "--config", str(config)) as server, concurrent.futures.ThreadPoolExecutor(32) as pool:
        text = '[[fake:{"tokens": 60, "token_delay_s": 0.05}]]'
        running = [pool.submit(ask, server, "red", text, max_tokens=60, stream=True) for _ in range(32)]
        until(lambda: server.worker("red")["busy"] == 32)
        config.write_text(
            'default_chat = "blue"\ndefault_embedding = "red"\naliases = { mine = "blue" }\n[models.red]\nslots = 31\n'
        )
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: ask(server, "mine")[0] == 200)
        assert ask(server, "gpt-4o")[2]["model"] == "blue"
        for request in running:
            status, _, body = request.result(timeout=60)
            assert status == 200
            events = [line for line in str(body).splitlines() if line]
            assert events[-1] == "data: [DONE]"
            assert not any("error" in json.loads(event.removeprefix("data: ")) for event in events[:-1])
        assert ask(server, "red")[0] == 200
        assert server.worker("red")["slots"] == 31


def test_new_settings_find_the_memory_that_there_was_at_the_start(tmp_path: Path) -> None:
    """What our own models have taken since is theirs: neither lost to the budget, nor added to it."""
    fake_model(tmp_path, "red", memory_bytes=GIB // 4)
    config = tmp_path / "freehold.toml"
    config.write_text('default_chat = "red"\ndefault_embedding = "red"\n')
    with serving(tmp_path, "--config", str(config)) as server:
        before = server.get("/api/ps")[2]["memory"]
        config.write_text('default_chat = "red"\ndefault_embedding = "red"\naliases = { mine = "red" }\n')
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: ask(server, "mine")[0] == 200)
        assert server.get("/api/ps")[2]["memory"] == before
        assert before[0]["planned_bytes"] == GIB // 4


def test_settings_that_are_not_valid_leave_everything_as_it_was_and_say_why(tmp_path: Path) -> None:
    fake_model(tmp_path, "red")
    config = tmp_path / "freehold.toml"
    config.write_text('default_chat = "red"\ndefault_embedding = "red"\n')
    with serving(tmp_path, "--config", str(config)) as server:
        config.write_text('default_chat = "red"\nqueue = { size = "many" }\n')
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: "the settings stay as they were" in server.log.read_text())
        assert "queue.size = 'many'" in server.log.read_text()
        assert ask(server, "gpt-4o")[0] == 200
