"""The fake engine is a program that others are tested with, so its own promises are tested first."""

import base64
import http.client
import json
import math
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


class Client(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: Path):
        super().__init__("fake", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self.path))


class Fake:
    def __init__(self, folder: Path, *arguments: str, **options):
        self.socket = folder / "fake.sock"
        argv = [sys.executable, "-m", "freehold.workers.fake", "--socket", str(self.socket), "--options", json.dumps(options)]
        self.process = subprocess.Popen(
            [*argv, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def request(self, method: str, path: str, body=None):
        """(status, bytes) of one request on a connection of its own."""
        client = Client(self.socket)
        try:
            client.request(method, path, None if body is None else json.dumps(body))
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def get(self, path: str):
        return json.loads(self.request("GET", path)[1])

    def post(self, path: str, **body):
        return json.loads(self.request("POST", path, body)[1])

    def say(self, directive: dict | None = None, text: str = "", **body):
        """A chat request whose user message carries the directive."""
        content = text if directive is None else f"[[fake:{json.dumps(directive)}]]{text}"
        return {"messages": [{"role": "user", "content": content}], **body}

    def events(self, body: dict, path: str = CHAT):
        status, raw = self.request("POST", path, {**body, "stream": True})
        assert status == 200
        lines = [line.removeprefix("data: ") for line in raw.decode().split("\n\n") if line]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]

    def open(self, body: dict, *, close: bool = False) -> socket.socket:
        """A raw connection on which the chat request has been sent; `close` asks the engine to close it afterwards."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(self.socket))
        data = json.dumps(body).encode()
        last = "Connection: close\r\n" if close else ""
        sock.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: fake\r\n{last}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        return sock

    def answers(self) -> bool:
        try:
            self.request("GET", "/health")
        except OSError:
            return False
        return True

    def ready(self) -> "Fake":
        until(lambda: self.process.poll() is not None or (self.answers() and self.request("GET", "/health")[0] == 200))
        assert self.process.poll() is None
        return self

    def end(self):
        self.process.kill()
        self.process.communicate()


def until(condition, seconds: float = 10.0):
    """The first true value of `condition`, which must come before the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def rest(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    data = b""
    with sock:
        while piece := sock.recv(65536):
            data += piece
    return data


@pytest.fixture
def start(tmp_path):
    running = []

    def start(*arguments: str, **options) -> Fake:
        running.append(Fake(tmp_path, *arguments, **options))
        return running[-1]

    yield start
    for fake in running:
        fake.end()


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    fake = Fake(tmp_path_factory.mktemp("fake"), alias="tiny", slots=2).ready()
    yield fake
    fake.end()


# Answers.


def test_chat_repeats_the_users_words_in_the_engines_shape(fake):
    answer = fake.post(CHAT, **fake.say(text="to be or not"))
    assert answer["choices"] == [
        {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": "to be or not"}},
    ]
    assert answer["usage"] == {
        "completion_tokens": 4,
        "prompt_tokens": 12,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert (answer["object"], answer["model"]) == ("chat.completion", "tiny")
    assert answer["id"].startswith("chatcmpl-")
    assert {"created", "system_fingerprint", "timings"} <= set(answer)


def test_a_limit_of_tokens_is_honoured_and_named_as_the_reason(fake):
    for name in ("max_tokens", "max_completion_tokens"):
        choice = fake.post(CHAT, **fake.say(text="a b c d", **{name: 2}))["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("a b", "length")


def test_a_chat_stream_has_role_words_finish_usage_and_done(fake):
    events = fake.events(fake.say(text="a b", stream_options={"include_usage": True}))
    deltas = [event["choices"][0]["delta"] for event in events[:4]]
    assert deltas == [{"role": "assistant", "content": None}, {"content": "a"}, {"content": " b"}, {}]
    assert events[3]["choices"][0]["finish_reason"] == "stop"
    assert events[4]["choices"] == []
    assert events[4]["usage"]["total_tokens"] == 5
    assert "timings" in events[4]
    assert events[5:] == ["[DONE]"]
    assert {event["object"] for event in events[:5]} == {"chat.completion.chunk"}


def test_a_stream_shows_no_usage_unless_asked(fake):
    assert not any("usage" in event for event in fake.events(fake.say(text="a b"))[:-1])


def test_a_completion_stream_carries_usage_in_its_last_chunk(fake):
    events = fake.events({"prompt": "a b"}, TEXT)
    assert [event["choices"][0]["text"] for event in events[:-1]] == ["a", " b", ""]
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-2]["usage"]["completion_tokens"] == 2
    assert events[-1] == "[DONE]"


def test_several_choices_have_llamacpps_peculiar_usage(fake):
    assert [c["index"] for c in fake.post(TEXT, prompt=["ab", "cd"], n=2)["choices"]] == [0, 1, 2, 3]
    events = fake.events({"prompt": ["ab", "cd"]}, TEXT)
    assert events[0] is None
    assert sum("usage" in event for event in events[1:-1]) == 2


def test_prompts_may_be_tokens(fake):
    assert fake.post(TEXT, prompt=[104, 105])["choices"][0]["text"] == "hi"
    assert fake.post("/tokenize", content="hi") == {"tokens": [104, 105]}
    assert fake.post("/detokenize", tokens=[104, 105]) == {"content": "hi"}


def test_the_native_completion_streams_without_done(fake):
    assert fake.post("/completion", prompt="a b")["content"] == "a b"
    events = fake.events({"prompt": "a b", "n_predict": 1}, "/completion")
    assert [(event["content"], event["stop"]) for event in events] == [("a", False), ("", True)]
    assert events[-1]["stop_type"] == "limit"


def test_embeddings_are_deterministic_unit_vectors_in_both_encodings(fake):
    answer = fake.post("/v1/embeddings", input=["one", "two", "one"])
    first, second, again = (item["embedding"] for item in answer["data"])
    assert first == again != second
    assert math.isclose(sum(x * x for x in first), 1.0, rel_tol=1e-9)
    assert answer["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    packed = fake.post("/v1/embeddings", input="one", encoding_format="base64")["data"][0]["embedding"]
    assert struct.unpack(f"<{len(first)}f", base64.b64decode(packed)) == pytest.approx(first, abs=1e-7)


def test_it_describes_itself_as_the_engine_does(fake):
    props = fake.get("/props")
    assert (props["model_alias"], props["total_slots"], props["default_generation_settings"]["n_ctx"]) == ("tiny", 2, 4096)
    assert props["chat_template_caps"]["supports_tools"] is True
    assert fake.get("/v1/models")["data"][0]["id"] == "tiny"


def test_the_last_inference_request_can_be_read_back(fake):
    body = {"prompt": "look at me", "seed": 7}
    fake.post(TEXT, **body)
    assert fake.get("/fake/last") == body


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (CHAT, {"messages": 3}, 400),
        (CHAT, {}, 400),
        (TEXT, {"prompt": {}}, 400),
        (TEXT, {"prompt": '[[fake:{"no_such_fault": 1}]]'}, 400),
        ("/nowhere", {}, 404),
    ],
)
def test_what_it_cannot_read_is_an_error(fake, path, body, status):
    got, answer = fake.request("POST", path, body)
    assert got == status
    assert json.loads(answer)["error"]["code"] == status


def test_one_connection_serves_many_requests_and_closes_on_demand(fake):
    client = Client(fake.socket)
    for _ in range(3):
        client.request("GET", "/health")
        assert client.getresponse().read() == b'{"status":"ok"}'
    client.request("GET", "/health", headers={"Connection": "close"})
    answer = client.getresponse()
    answer.read()
    assert answer.getheader("Connection") == "close"
    client.close()


# Faults.


def test_tokens_and_delays_follow_the_directive(fake):
    began = time.monotonic()
    events = fake.events(fake.say({"tokens": 5, "first_token_delay_s": 0.1, "token_delay_s": 0.02}))
    assert time.monotonic() - began >= 0.2
    assert len(events) == 1 + 5 + 1 + 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_status_comes_with_the_body_asked_for(fake, stream):
    for body, start in (("json", b'{"error"'), ("html", b"<html>"), ("empty", b"")):
        status, answer = fake.request("POST", CHAT, fake.say({"status": 500, "body": body}, stream=stream))
        assert status == 500
        assert answer.startswith(start)


def test_an_error_in_the_stream_ends_it_without_done(fake):
    events = fake.events(fake.say({"error_at_token": 2}, "a b c"))
    assert events[-1]["error"]["type"] == "server_error"
    assert len(events) == 4


def test_an_error_before_the_first_token_is_a_status(fake):
    assert fake.request("POST", CHAT, fake.say({"error_at_token": 0}, "a b", stream=True))[0] == 500


def test_a_closed_stream_lacks_its_terminator(fake):
    data = rest(fake.open(fake.say({"close_at_token": 2}, "a b c", stream=True)))
    assert b'" b"' in data
    assert b'" c"' not in data
    assert not data.endswith(b"0\r\n\r\n")


def test_a_closed_answer_is_shorter_than_its_length(fake):
    head, _, body = rest(fake.open(fake.say({"close_at_token": 1}, "a b c"))).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert 0 < len(body) < length


def test_garbage_is_not_text_and_the_stream_goes_on(fake):
    data = rest(fake.open(fake.say({"garbage_at_token": 1}, "a b", stream=True), close=True))
    with pytest.raises(UnicodeDecodeError):
        data.decode()
    assert b"[DONE]" in data


def test_broken_framing_is_no_http(fake):
    sock = fake.open(fake.say({"bad_framing_at_token": 1}, "a b", stream=True))
    assert b"\xff\xfenot HTTP" in rest(sock)
    with pytest.raises(http.client.BadStatusLine):
        fake.request("POST", CHAT, fake.say({"bad_framing_at_token": 0}, "a b"))


def test_a_hang_ends_when_the_client_leaves(fake):
    before = fake.get("/fake/stats")["disconnects"]
    for directive in ({"hang": True}, {"headers_then_hang": True}):
        sock = fake.open(fake.say(directive))
        until(lambda: fake.get("/fake/stats")["active"] == 1)
        if "headers_then_hang" in directive:
            assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")
        sock.close()
        until(lambda: fake.get("/fake/stats")["active"] == 0)
    assert fake.get("/fake/stats")["disconnects"] == before + 2


def test_a_client_that_leaves_stops_the_tokens(fake):
    before = fake.get("/fake/stats")
    sock = fake.open(fake.say({"tokens": 10_000, "token_delay_s": 0.005}, stream=True))
    sock.recv(1000)
    sock.close()
    until(lambda: fake.get("/fake/stats")["disconnects"] == before["disconnects"] + 1)
    after = fake.get("/fake/stats")
    assert after["active"] == 0
    assert after["tokens"] - before["tokens"] < 1000
    assert after["tokens_after_disconnect"] == 0


def test_an_engine_told_to_goes_on_without_its_client(start):
    fake = start(ignore_disconnect=True).ready()
    sock = fake.open(fake.say({"tokens": 20, "token_delay_s": 0.005}, stream=True))
    sock.recv(1000)
    sock.close()
    until(lambda: fake.get("/fake/stats")["tokens"] == 20)
    assert fake.get("/fake/stats")["tokens_after_disconnect"] > 0


def test_a_slow_reader_stops_the_tokens_instead_of_filling_memory(fake):
    before = fake.get("/fake/stats")["tokens"]
    sock = fake.open(fake.say({"tokens": 200_000}, stream=True))
    tokens = [before]

    def still() -> bool:
        time.sleep(0.1)
        tokens.append(fake.get("/fake/stats")["tokens"])
        return tokens[-1] == tokens[-2]

    until(still)
    assert tokens[-1] - before < 20_000
    sock.close()
    until(lambda: fake.get("/fake/stats")["active"] == 0)


def test_no_more_requests_run_than_there_are_slots(fake):
    socks = [fake.open(fake.say({"hang": True})) for _ in range(3)]
    until(lambda: fake.get("/fake/stats")["waiting"] == 1)
    assert fake.get("/fake/stats")["active"] == 2
    for sock in socks:
        sock.close()
    until(lambda: (fake.get("/fake/stats")["active"], fake.get("/fake/stats")["waiting"]) == (0, 0))


@pytest.mark.parametrize("stream", [False, True])
def test_death_at_a_token_is_sudden_and_every_earlier_byte_arrives(start, stream):
    fake = start().ready()
    data = rest(fake.open(fake.say({"die_at_token": 2}, "a b c", stream=stream)))
    assert fake.process.wait(5) == 9
    assert (b'" b"' in data) is stream
    assert b'" c"' not in data


# Life.


def test_the_socket_is_the_owners_alone_and_replaces_a_stale_one(start, tmp_path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "fake.sock"))
    fake = start().ready()
    assert stat.S_IMODE(fake.socket.stat().st_mode) == 0o600


def test_loading_is_answered_as_unavailable(start):
    fake = start(load_delay_s=0.5)
    until(fake.answers)
    status, body = fake.request("GET", "/health")
    assert (status, json.loads(body)["error"]["message"]) == (503, "Loading model")
    assert fake.request("POST", CHAT, fake.say(text="a"))[0] == 503
    fake.ready()


def test_it_can_stay_unready_for_ever(start):
    fake = start(never_ready=True)
    until(fake.answers)
    assert fake.request("GET", "/health")[0] == 503


def test_death_at_load_has_last_words(start):
    fake = start(die_at_load=True)
    _, words = fake.process.communicate(timeout=10)
    assert fake.process.returncode == 3
    assert "the weights are corrupt" in words


def test_death_at_load_can_pass(start, tmp_path):
    options = {"die_at_load_times": 2, "counter_file": str(tmp_path / "starts")}
    assert [start(**options).process.wait(10) for _ in range(2)] == [3, 3]
    start(**options).ready()


def test_sigterm_ends_it_unless_told_otherwise(start):
    fake = start().ready()
    fake.process.terminate()
    assert fake.process.wait(5) == -signal.SIGTERM
    stubborn = start(ignore_sigterm=True).ready()
    stubborn.process.terminate()
    assert stubborn.answers()
    assert stubborn.process.poll() is None


def test_it_dies_when_its_stdin_ends(start):
    fake = start("--watch-stdin").ready()
    fake.process.stdin.close()
    assert fake.process.wait(5) == 0
    fake.process.stdin = None  # communicate() would flush it


def test_a_long_prompt_is_refused_as_the_engine_does(start):
    fake = start(context_limit=8).ready()
    status, body = fake.request("POST", CHAT, fake.say(text="far too long"))
    error = json.loads(body)["error"]
    assert (status, error["type"]) == (400, "exceed_context_size_error")
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (12, 8)


def test_unknown_options_are_refused(start):
    fake = start(no_such_option=1)
    _, words = fake.process.communicate(timeout=10)
    assert fake.process.returncode == 2
    assert "no_such_option" in words


def test_the_process_may_have_faults_by_default(start):
    fake = start(tokens=3).ready()
    assert fake.post(CHAT, **fake.say(text="x"))["choices"][0]["message"]["content"] == "x x x"


def test_it_also_listens_on_a_port_of_loopback(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "freehold.workers.fake", "--tcp", str(port)], stdout=subprocess.DEVNULL)

    def health() -> bytes | None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            client.request("GET", "/health")
            return client.getresponse().read()
        except OSError:
            return None
        finally:
            client.close()

    try:
        assert until(health) == b'{"status":"ok"}'
    finally:
        process.kill()
        process.wait()
