"""A caller that asks for everything at once, and one that asks now and then, told apart by `user`."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

from tests.conftest import Server, fake_model, serving, until
from tests.gateway.wire import directive

FLOOD = 30
ENDLESS = directive(tokens=100_000, token_delay_s=0.05)
BOUNDS = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_QUEUE_SIZE": "8"}


def test_a_visitor_is_served_at_once_while_another_caller_holds_and_awaits_all_it_can(tmp_path: Path) -> None:
    fake_model(tmp_path, slots=4)
    with serving(tmp_path, env=BOUNDS) as server, concurrent.futures.ThreadPoolExecutor(FLOOD) as pool:
        assert server.chat("hello", user="visitor")[0] == 200
        asked = [pool.submit(server.chat, ENDLESS, user="flood", max_tokens=3000) for _ in range(FLOOD)]
        refused = FLOOD - 3 - 9  # the last slot is kept for others, and counts as a place to wait at
        until(lambda: sum(answer.done() for answer in asked) == refused)
        assert {answer.result()[0] for answer in asked if answer.done()} == {429}
        for _ in range(3):
            assert server.chat("hello", user="visitor")[0] == 200
        assert _state(server) == (3, 8)  # the first visit took the place of one that waited
        server.process.kill()  # or the endless answers would be waited for


def _state(server: Server) -> tuple[int, int]:
    row = server.worker("fake")
    return row["busy"], row["queued"]
