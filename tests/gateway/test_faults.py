"""What clients see when workers die, hang or babble, when clients leave, and when the server stops."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import worker_socket
from tests.conftest import Server, fake_model, serving, until

CHAT = "/v1/chat/completions"
MANY = 32  # streams at a time
MORE_THAN_BUFFERS = 200_000  # tokens; their events are some 40 MB, and no socket takes that much unread


def directive(**faults: Any) -> str:
    return f"[[fake:{json.dumps(faults)}]]"


def payload(text: str, **fields: Any) -> bytes:
    return json.dumps({"model": "fake", "messages": [{"role": "user", "content": text}], **fields}).encode()


class Stream:
    """A streamed chat request over a raw connection, so that it can be left at any moment."""

    def __init__(self, server: Server, text: str, **fields: Any):
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self._connection.request("POST", CHAT, payload(text, stream=True, **fields), {"Content-Type": "application/json"})
        self.response = self._connection.getresponse()

    def event(self) -> str:
        while True:
            line = self.response.readline().decode().strip()
            if line:
                return line.removeprefix("data: ")

    def events(self) -> list[str]:
        events = self.response.read().decode().strip().split("\n\n")  # an event read before leaves its empty line
        self.leave()
        return [event.removeprefix("data: ") for event in events]

    def leave(self) -> None:
        self.response.close()
        self._connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of one's own: these tests break it."""
    fake_model(tmp_path, slots=MANY)
    fake_model(tmp_path, "other")
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "other",
        "FREEHOLD_TIMEOUTS_HEARTBEAT": "0.5",
        "FREEHOLD_TIMEOUTS_HANG": "2",
        "FREEHOLD_QUEUE_SIZE": "8",
        "FREEHOLD_QUEUE_TIMEOUT": "10",
        "FREEHOLD_ENGINE_CONTEXT": "1000000",
    }
    with serving(tmp_path, env=environment) as running:
        yield running


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def made(server: Server, model: str) -> int:
    """Tokens that a fake worker has made."""
    line = http.client.HTTPConnection("worker", timeout=10)
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.connect(str(worker_socket(server.worker(model)["pid"])))
    with contextlib.closing(line):
        line.request("GET", "/fake/stats")
        return int(json.loads(line.getresponse().read())["tokens"])


def zombies(pid: int) -> list[int]:
    return [child for child in children(pid) if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"]


def assert_ends_with_an_error_event(events: list[str]) -> dict[str, Any]:
    assert events[-1] == "[DONE]"
    error = json.loads(events[-2])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "server_error"
    return dict(error)


def test_a_worker_killed_under_32_streams_ends_each_of_them_with_an_error_event(server: Server) -> None:
    until(lambda: [each["state"] for each in server.get("/api/ps")[2]["workers"]] == ["ready"] * 2)
    before, shared = open_files(server.pid), set(Path("/dev/shm").iterdir())
    streams = [Stream(server, directive(tokens=10_000, token_delay_s=0.05)) for _ in range(MANY)]
    for stream in streams:
        stream.event()
    pid = server.worker("fake")["pid"]
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    with concurrent.futures.ThreadPoolExecutor(MANY) as pool:
        ends = list(pool.map(lambda stream: (stream.events(), time.monotonic() - killed), streams))
    for events, seconds in ends:
        assert assert_ends_with_an_error_event(events)["code"] == "worker_died"
        assert seconds < 5.0  # at once; 32 readers of a crowded machine take their time to see it
    until(lambda: server.chat("hello")[0] == 200, within=10)
    assert pid not in children(server.pid)
    assert zombies(server.pid) == []
    assert set(Path("/dev/shm").iterdir()) <= shared
    del streams, ends
    until(lambda: abs(open_files(server.pid) - before) <= 2, within=10)


def test_a_worker_killed_under_whole_answers_gives_each_a_503_and_none_half_a_body(server: Server) -> None:
    text = directive(first_token_delay_s=20)
    with concurrent.futures.ThreadPoolExecutor(MANY) as pool:
        answers = [pool.submit(server.chat, text) for _ in range(MANY)]
        until(lambda: server.worker("fake")["busy"] == MANY)
        os.kill(server.worker("fake")["pid"], signal.SIGKILL)
        for answer in answers:
            status, headers, body = answer.result(timeout=5)
            assert status == 503
            assert int(headers["retry-after"]) >= 1
            assert body["error"]["type"] == "server_error"


def test_a_stopped_worker_is_noticed_and_replaced(server: Server) -> None:
    stream = Stream(server, directive(tokens=10_000, token_delay_s=0.01))
    stream.event()
    old = server.worker("fake")["pid"]
    os.kill(old, signal.SIGSTOP)
    until(lambda: server.get("/readyz")[0] == 503, within=10)
    assert_ends_with_an_error_event(stream.events())
    until(lambda: server.chat("hello")[0] == 200, within=10)
    assert server.worker("fake")["pid"] != old


@pytest.mark.parametrize("fault", ["die_at_token", "close_at_token", "error_at_token", "garbage_at_token"])
def test_a_stream_that_breaks_is_ended_with_an_error_event(server: Server, fault: str) -> None:
    stream = Stream(server, directive(tokens=50, token_delay_s=0.005, **{fault: 5}))
    assert stream.response.status == 200
    error = assert_ends_with_an_error_event(stream.events())
    assert "Traceback" not in error["message"]
    until(lambda: server.chat("hello")[0] == 200, within=10)


@pytest.mark.parametrize("fault", [{"headers_then_hang": True}, {"bad_framing_at_token": 5, "token_delay_s": 0.005}])
def test_a_stream_that_falls_silent_is_ended_after_the_idle_timeout(tmp_path: Path, fault: dict[str, Any]) -> None:
    fake_model(tmp_path)
    with serving(tmp_path, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_TIMEOUTS_IDLE": "1"}) as server:
        stream = Stream(server, directive(tokens=50, **fault))
        if stream.response.status == 200:
            assert_ends_with_an_error_event(stream.events())
        else:
            assert stream.response.status == 504
            stream.leave()
        until(lambda: server.worker("fake")["busy"] == 0)


@pytest.mark.parametrize("body", ["json", "html", "empty"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_engine_error_is_mapped_and_never_relayed(server: Server, body: str, stream: bool) -> None:
    status, _, answer = server.chat(directive(status=500, body=body), stream=stream)
    assert status == 502
    assert answer["error"]["type"] == "server_error"
    assert "html" not in json.dumps(answer).lower()


def test_a_full_queue_answers_429_at_once_and_a_client_that_leaves_makes_room(server: Server) -> None:
    running = [Stream(server, directive(tokens=10_000, token_delay_s=0.02)) for _ in range(MANY)]
    waiting = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(8)]
    for connection in waiting:
        connection.request("POST", CHAT, payload("hello"), {"Content-Type": "application/json"})
    until(lambda: server.worker("fake")["queued"] == 8)
    times = []
    for _ in range(20):
        began = time.monotonic()
        status, headers, body = server.chat("hello")
        times.append(time.monotonic() - began)
        assert status == 429
        assert int(headers["retry-after"]) >= 1
        assert body["error"]["code"] == "queue_full"
    assert statistics.median(times) < 2  # decided at once: nothing is waited for
    waiting[0].close()
    until(lambda: server.worker("fake")["queued"] == 7)
    for stream in running:
        stream.leave()
    for connection in waiting[1:]:
        with connection.getresponse() as response:
            assert response.status == 200
        connection.close()


def test_a_turn_that_does_not_come_in_time_is_a_503(tmp_path: Path) -> None:
    fake_model(tmp_path, slots=1)
    with serving(tmp_path, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_QUEUE_TIMEOUT": "0.5"}) as server:
        stream = Stream(server, directive(tokens=10_000, token_delay_s=0.02))
        status, headers, body = server.chat("hello")
        assert (status, body["error"]["code"]) == (503, "queue_timeout")
        assert "retry-after" in headers
        stream.leave()


def test_a_load_at_the_start_may_take_longer_than_a_request_waits(tmp_path: Path) -> None:
    fake_model(tmp_path, load_delay_s=1.5)
    environment = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_QUEUE_TIMEOUT": "0.5"}
    with serving(tmp_path, env=environment, ready=False) as server:
        status, headers, body = server.chat("hello")
        assert (status, body["error"]["code"]) == (503, "queue_timeout")
        assert "retry-after" in headers
        until(server.ready)
        assert server.chat("hello")[0] == 200


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_frees_its_slot(server: Server, streamed: bool) -> None:
    times = []
    for _ in range(100):
        text = directive(tokens=10_000, token_delay_s=0.01) if streamed else directive(first_token_delay_s=30)
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("POST", CHAT, payload(text, stream=streamed), {"Content-Type": "application/json"})
        if streamed:
            connection.getresponse().readline()
        else:
            until(lambda: server.worker("fake")["busy"] == 1)
        left = time.monotonic()
        if connection.sock:
            connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        until(lambda: server.worker("fake")["busy"] == 0, within=5)
        times.append(time.monotonic() - left)
    assert statistics.quantiles(times, n=20)[-1] <= 0.5
    assert server.metric("freehold_generations_total", model="fake", outcome="abandoned") >= 100


def test_sigterm_lets_streams_finish_and_turns_new_requests_away(server: Server) -> None:
    stream = Stream(server, directive(tokens=100, token_delay_s=0.02))
    stream.event()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as idle:
        idle.request("GET", "/livez")
        idle.getresponse().read()
        assert_drains(server, stream)


def assert_drains(server: Server, stream: Stream) -> None:
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.get("/readyz")[0] == 503)
    status, headers, body = server.chat("hello")
    assert (status, body["error"]["code"]) == (503, "shutting_down")
    assert headers["connection"] == "close"
    assert "retry-after" in headers
    events = stream.events()
    assert events[-1] == "[DONE]"
    assert "error" not in events[-2]
    assert server.process.wait(10) == 0


def test_a_second_sigterm_ends_at_once(server: Server) -> None:
    stream = Stream(server, directive(tokens=10_000, token_delay_s=0.02))
    stream.event()
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.get("/readyz")[0] == 503)
    again = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert_ends_with_an_error_event(stream.events())
    server.process.wait(10)
    assert time.monotonic() - again < 3


def test_ctrl_c_leaves_no_process_socket_or_temporary_file(tmp_path: Path) -> None:
    fake_model(tmp_path)
    with serving(tmp_path, env={"FREEHOLD_DEFAULT_CHAT": "fake"}) as server:
        until(server.ready)
        workers = [worker["pid"] for worker in server.get("/api/ps")[2]["workers"] if worker["pid"]]
        assert server.stop(signal.SIGINT) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        assert [path.name for path in server.log.parent.iterdir()] == ["log"]


def test_a_crash_looping_model_disturbs_no_other(tmp_path: Path) -> None:
    fake_model(tmp_path)
    fake_model(tmp_path, "broken", die_at_load=True)
    with serving(tmp_path, env={"FREEHOLD_DEFAULT_CHAT": "fake"}) as server:
        body = {"model": "broken", "messages": [{"role": "user", "content": "hello"}]}
        status, headers, answer = server.post(CHAT, body)
        assert (status, answer["error"]["code"]) == (503, "model_failed")
        assert "weights are corrupt" in answer["error"]["message"]
        assert "retry-after" in headers
        assert server.chat("hello")[0] == 200
        assert server.ready()


def test_a_slow_reader_costs_no_memory_and_slows_nobody(server: Server) -> None:
    def resident() -> int:
        return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    server.chat("hello")
    before = resident()
    slow = [Stream(server, directive(tokens=MORE_THAN_BUFFERS), max_tokens=MORE_THAN_BUFFERS) for _ in range(5)]
    for stream in slow:
        stream.event()
    assert server.chat("hello", stream=True)[0] == 200
    assert resident() - before < 5 * 2**20
    assert server.worker("fake")["busy"] == len(slow)  # they still wait to be read
    for stream in slow:
        stream.leave()
    until(lambda: server.worker("fake")["busy"] == 0)


def test_a_client_that_takes_nothing_is_cut_off_after_the_write_timeout(tmp_path: Path) -> None:
    fake_model(tmp_path)
    bounded = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_TIMEOUTS_WRITE": "0.5"}
    bounded["FREEHOLD_ENGINE_CONTEXT"] = "1000000"
    with serving(tmp_path, env=bounded) as server:
        stream = Stream(server, directive(tokens=MORE_THAN_BUFFERS), max_tokens=MORE_THAN_BUFFERS)
        stream.event()
        assert server.worker("fake")["busy"] == 1
        until(lambda: server.worker("fake")["busy"] == 0, 10)
        assert made(server, "fake") < 10_000  # of some 190 bytes: all buffers on the way hold little
        assert server.metric("freehold_generations_total", model="fake", outcome="abandoned") == 1
        stream.leave()
        assert server.chat("hello")[0] == 200


def test_counters_equal_what_clients_counted(server: Server) -> None:
    seen = {"prompt": 0, "completion": 0}
    lock = threading.Lock()

    def one(number: int) -> None:
        if number % 2:
            _, _, body = server.chat("one two three", max_tokens=3)
            usage = body["usage"]
        else:
            events = Stream(server, "one two three", max_tokens=3, stream_options={"include_usage": True}).events()
            usage = json.loads(events[-2])["usage"]
        with lock:
            seen["prompt"] += usage["prompt_tokens"]
            seen["completion"] += usage["completion_tokens"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(200)))
    hidden = Stream(server, "one two three", max_tokens=3).events()  # not asked for, not shown, still counted
    assert not any('"usage":{' in event.replace(" ", "") for event in hidden)
    assert server.metric("freehold_tokens_total", model="fake", kind="completion") == seen["completion"] + 3
    assert server.metric("freehold_tokens_total", model="fake", kind="prompt") > seen["prompt"]
    assert server.metric("freehold_requests_total", route=CHAT, status="200") == 201


@pytest.mark.parametrize("phase", ["loading", "queued", "reading"])
def test_sigterm_ends_the_server_in_every_phase_of_a_request(tmp_path: Path, phase: str) -> None:
    fake_model(tmp_path, slots=1, load_delay_s=30 if phase == "loading" else 0)
    bounded = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_TIMEOUTS_DRAIN": "1"}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path, env=bounded, ready=phase != "loading"))
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(2))
        asked = []
        if phase == "reading":
            half = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            half.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{{".encode())
            until(lambda: server.metric("freehold_requests_active") >= 2)
        else:
            asked = [pool.submit(server.chat, directive(first_token_delay_s=30)) for _ in range(2)]
            until(lambda: sum(server.metric(f"freehold_{kind}", model="fake") for kind in ("leases", "queue_depth")) >= 2)
        assert server.stop() == 0
        for answer in asked:
            status, headers, body = answer.result(5)
            assert status == 503, body
            assert "retry-after" in headers
