"""A worker that dies before it has answered costs its clients time, not an error; who kills workers gets no other."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from freehold.errors import WorkerDied
from freehold.fleet.client import Answer, EngineClient
from freehold.fleet.engines import Deployment
from freehold.fleet.supervisor import Supervisor
from freehold.gateway.retry import Retry, Suspects
from freehold.hardware.plan import Plan as Placed
from freehold.settings import TimeoutSettings
from freehold.telemetry import Telemetry
from tests.conftest import Server, fake_model, serving, until
from tests.gateway.test_faults import Stream, assert_ends_with_an_error_event, directive

BODY = b'{"prompt":"hello","max_tokens":1}'


@pytest.fixture
def server(tmp_path: Path):
    fake_model(tmp_path, slots=16)
    with serving(tmp_path, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as running:
        yield running


def test_streams_that_have_not_begun_are_answered_by_the_next_worker(server: Server) -> None:
    text = directive(first_token_delay_s=2, tokens=3)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(lambda: Stream(server, text).events()) for _ in range(8)]
        until(lambda: server.worker("fake")["busy"] == 8)
        os.kill(server.worker("fake")["pid"], signal.SIGKILL)
        for answer in answers:
            events = answer.result(timeout=20)
            assert events[-1] == "[DONE]"
            assert not any("error" in json.loads(event) for event in events[:-1])
    assert server.metric("freehold_retries_total", model="fake") == 8
    assert server.worker("fake")["restarts"] == 1


def test_a_stream_that_has_begun_is_not_begun_again(server: Server) -> None:
    stream = Stream(server, directive(tokens=10_000, token_delay_s=0.01))
    stream.event()
    os.kill(server.worker("fake")["pid"], signal.SIGKILL)
    assert_ends_with_an_error_event(stream.events())
    assert server.metric("freehold_retries_total", model="fake") == 0


def test_a_request_that_kills_its_workers_is_given_two_and_later_one(server: Server) -> None:
    for restarts in (2, 3):
        until(server.ready)
        status, headers, body = server.chat(directive(die_at_token=0), stream=True)
        assert (status, body["error"]["code"]) == (503, "worker_died")
        assert "retry-after" in headers
        until(lambda count=restarts: server.worker("fake")["restarts"] == count)
    assert server.metric("freehold_retries_total", model="fake") == 1


def refuses(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) != 0


async def test_a_whole_answer_is_tried_again_only_when_it_reached_nobody(tmp_path: Path) -> None:
    fleet, telemetry = Supervisor(tmp_path, TimeoutSettings()), Telemetry()
    deployment = Deployment("m", "chat", "fake", Placed(context=4096, slots=4), sandbox="auto")
    retry = Retry(fleet, Suspects(), telemetry, within=10)

    async def attempt(client: EngineClient) -> Answer:
        return await client.post("/v1/completions", BODY, within=10)

    async def killed_under(client: EngineClient) -> Answer:
        asked = asyncio.create_task(client.post("/v1/completions", b'{"prompt":"[[fake:{\\"hang\\":true}]]"}', within=10))
        while json.loads((await client.get("/fake/stats", within=10)).body)["active"] == 0:
            await asyncio.sleep(0.01)
        os.kill(fleet.status()[0].pid or 0, signal.SIGKILL)
        return await asked

    try:
        client = await fleet.ensure_ready(deployment)
        killed = fleet.status()[0].pid or 0
        os.kill(killed, signal.SIGKILL)
        until(lambda: refuses(next(tmp_path.glob("*.sock"))))  # its last thread has gone
        answer = await retry.run(client, deployment, (BODY,), attempt, lambda death: not death.reached)
        assert answer.status == 200
        client = await fleet.ensure_ready(deployment)
        with pytest.raises(WorkerDied):
            await retry.run(client, deployment, (BODY,), killed_under, lambda death: not death.reached)
    finally:
        await fleet.close()
