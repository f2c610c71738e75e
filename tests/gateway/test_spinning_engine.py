"""The real engine, stuck for good in its main loop while all its other threads are well.

What makes it spin is asked of it behind the gateway's back, which refuses such fields: a regular expression that backtracks
without end, tried on the text so far after each token. Not even its own client's leaving is noticed in there.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import worker_socket
from tests.conftest import STARTERS, Server, serving, until

CHAT_MODEL, EMBEDDING_MODEL = STARTERS
LONG = "Count to ten thousand, one number a line."
ENDLESS = {
    "prompt": "Once upon a time",
    "n_predict": 200,
    "grammar": "root ::= [a-z ]*",
    "grammar_lazy": True,
    "grammar_triggers": [{"type": 2, "value": "([^#]|[^~])*#~#"}],  # each letter doubles the ways to fail
}


@pytest.fixture
def keeper(starters: Path) -> Iterator[Server]:
    with serving(starters, env={"FREEHOLD_TIMEOUTS_HEARTBEAT": "0.5", "FREEHOLD_TIMEOUTS_HANG": "2"}) as running:
        until(lambda: running.worker(EMBEDDING_MODEL)["state"] == "ready", 30)
        yield running


def spin(pid: int) -> socket.socket:
    """Asks a worker for what never ends; the connection stays open, for a client that leaves would be the end of it."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(worker_socket(pid)))
    body = json.dumps(ENDLESS).encode()
    line.sendall(b"POST /completion HTTP/1.1\r\nHost: worker\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return line


class Steady:
    """A client of another model, that keeps asking."""

    def __init__(self, server: Server):
        self._server, self._over = server, threading.Event()
        self.statuses: list[int] = []
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._over.is_set():
            self.statuses.append(self._server.post("/v1/embeddings", {"model": EMBEDDING_MODEL, "input": "a harbour"})[0])

    def __enter__(self) -> Steady:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_real_engine_that_spins_is_found_and_replaced_and_disturbs_no_other(keeper: Server) -> None:
    old, other = (keeper.worker(model)["pid"] for model in STARTERS)
    ends: dict[bool, tuple[int, dict[str, str], Any]] = {}

    def ask(stream: bool) -> None:
        ends[stream] = keeper.chat(LONG, max_tokens=3000, stream=stream)

    clients = [threading.Thread(target=ask, args=(stream,)) for stream in (True, False)]
    for client in clients:
        client.start()
    until(lambda: keeper.worker(CHAT_MODEL)["busy"] == 2)
    with Steady(keeper) as steady, spin(old):
        until(lambda: keeper.get("/readyz")[0] == 503, within=60)
        until(lambda: (worker := keeper.worker(CHAT_MODEL))["pid"] not in (None, old) and worker["state"] == "ready", within=20)
        for client in clients:
            client.join(20)
        served = len(steady.statuses)
        until(lambda: len(steady.statuses) > served)
    assert keeper.worker(CHAT_MODEL)["restarts"] == 1
    assert '"kind": "hang"' in keeper.log.read_text()
    assert "computed for" in keeper.log.read_text()

    status, headers, body = ends[False]
    assert (status, body["error"]["type"]) == (503, "server_error")
    assert int(headers["retry-after"]) >= 1
    events = [line.removeprefix("data: ") for line in ends[True][2].split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["error"]["code"] == "worker_died"

    assert keeper.chat("Hello", max_tokens=4)[0] == 200
    assert set(steady.statuses) == {200}
    assert keeper.worker(EMBEDDING_MODEL)["pid"] == other


def test_the_gateway_lets_nobody_ask_for_that(server: Server) -> None:
    for field in ("grammar_lazy", "grammar_triggers"):
        status, _, body = server.chat("Hello", max_tokens=4, **{field: ENDLESS[field]})
        assert (status, body["error"]["param"]) == (400, field)
