"""Models of engines that run elsewhere: a second Freehold, and the fake engine over TCP."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import openai
import pytest

from tests.conftest import FREEHOLD, Server, fake_model, serving, until

KEY = "upstream-secret-key"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def fake_engine(port: int) -> Iterator[None]:
    options = json.dumps({"alias": "away", "n_ctx": 2048})
    argv = [sys.executable, "-m", "freehold.workers.fake", "--tcp", str(port), "--options", options]
    process = subprocess.Popen(argv)
    try:
        until(lambda: listening(port))
        yield
    finally:
        process.kill()
        process.wait()


def listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def write(folder: Path, models: dict[str, dict[str, Any]]) -> Path:
    tables = [
        "\n".join([f"[models.{json.dumps(name)}]", *(f"{key} = {toml(value)}" for key, value in own.items())])
        for name, own in models.items()
    ]
    config = folder / "freehold.toml"
    config.write_text("\n".join(tables))
    return config


@contextlib.contextmanager
def gateway(folder: Path, models: dict[str, dict[str, Any]], *options: str, **env: str) -> Iterator[Server]:
    config = write(folder, models)
    data = folder / "data"
    data.mkdir()
    fake_model(data)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_TIMEOUTS_HEARTBEAT": "0.2",
        **env,
    }
    with serving(data, "--config", str(config), *options, env=environment, ready=False) as running:
        yield running


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("upstream")
    fake_model(data, "theirs")
    fake_model(data, "vectors", "embedding")
    env = {"FREEHOLD_DEFAULT_CHAT": "theirs", "FREEHOLD_DEFAULT_EMBEDDING": "vectors"}
    with serving(data, env=env, key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def here(upstream: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = upstream.base_url
    models = {
        "theirs": {"engine": "external", "url": url, "key_env": "UPSTREAM_KEY"},
        "renamed": {"engine": "external", "url": url, "key_env": "UPSTREAM_KEY", "upstream": "theirs"},
        "vectors": {"engine": "external", "url": url, "key_env": "UPSTREAM_KEY", "task": "embedding"},
        "keyless": {"engine": "external", "url": url, "upstream": "theirs"},
        "unset": {"engine": "external", "url": url, "key_env": "NO_SUCH_KEY"},
        "missing": {"engine": "external", "url": url, "key_env": "UPSTREAM_KEY"},
        "nowhere": {"engine": "external", "url": f"http://127.0.0.1:{free_port()}/v1"},
        "insecure": {"engine": "external", "url": url.replace("http:", "https:")},
    }
    with gateway(tmp_path_factory.mktemp("here"), models, UPSTREAM_KEY=KEY) as running:
        yield running


def test_another_freehold_answers_whole_and_streamed(here: Server) -> None:
    status, _, answer = here.chat("one two three", model="renamed")
    assert status == 200, answer
    assert answer["choices"][0]["message"]["content"] == "one two three"
    assert answer["usage"]["completion_tokens"] > 0
    client = openai.OpenAI(base_url=here.base_url, api_key="none")
    messages: Any = [{"role": "user", "content": "one two three"}]
    chunks = list(client.chat.completions.create(model="theirs", messages=messages, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    text = client.completions.create(model="theirs", prompt="one two", max_tokens=8)
    assert text.choices[0].text.strip()


def test_other_dialects_are_translated_for_it_as_for_any_model(here: Server) -> None:
    body = {"model": "theirs", "max_tokens": 50, "messages": [{"role": "user", "content": "hello there"}]}
    status, _, answer = here.post("/v1/messages", body)
    assert status == 200, answer
    assert answer["content"][0]["text"] == "hello there"


def test_embeddings_come_from_it_too(here: Server) -> None:
    status, _, answer = here.post("/v1/embeddings", {"model": "vectors", "input": ["a", "b"]})
    assert status == 200, answer
    assert len(answer["data"]) == 2


def test_it_is_listed_with_the_context_that_it_tells_and_takes_no_memory(here: Server, upstream: Server) -> None:
    assert here.chat("hello", model="theirs")[0] == 200
    cards = {card["id"]: card for card in here.get("/v1/models")[2]["data"]}
    assert {"theirs", "renamed", "vectors", "fake"} <= cards.keys()
    assert cards["theirs"]["context_length"] == upstream.get("/v1/models/theirs")[2]["context_length"]
    assert cards["theirs"]["status"]["value"] == "loaded"
    worker = here.worker("theirs")
    assert (worker["engine"], worker["pid"], worker["state"]) == ("external", None, "ready")


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("keyless", "wants a key"),
        ("unset", "NO_SUCH_KEY"),
        ("missing", "serves theirs, vectors, and not missing"),
        ("nowhere", "nothing listens there"),
        ("insecure", "does not speak TLS"),
    ],
)
def test_one_that_cannot_be_used_says_why_and_never_its_key(here: Server, model: str, word: str) -> None:
    status, _, answer = here.chat("hello", model=model)
    assert (status, answer["error"]["code"]) == (503, "model_failed")
    assert word in answer["error"]["message"]
    assert KEY not in json.dumps(answer)
    assert KEY not in here.log.read_text()


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {"content": "a"}, "model"),
        ("/v1/completions", {"prompt": "a", "logprobs": 1}, "logprobs"),
        ("/v1/completions", {"prompt": "a", "suffix": "b"}, "model"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "a"}], "reasoning_effort": "high"},
            "reasoning_effort",
        ),
    ],
)
def test_what_cannot_be_asked_of_an_engine_elsewhere_is_refused_by_name(
    here: Server, path: str, body: dict[str, Any], param: str
) -> None:
    status, _, answer = here.post(path, {"model": "theirs", **body})
    assert (status, answer["error"]["param"]) == (400, param), answer


def test_an_engine_that_goes_away_is_missed_and_found_again(tmp_path: Path) -> None:
    port = free_port()
    away = {"engine": "external", "url": f"http://127.0.0.1:{port}/v1"}
    with gateway(tmp_path, {"away": away}, "--log-level", "debug") as server:

        def told(level: str) -> int:
            lines = (json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{"))
            return sum((line["level"], line["event"]) == (level, "worker ended") for line in lines)

        with fake_engine(port):
            assert server.chat("hello", model="away")[0] == 200
        until(lambda: server.worker("away")["state"] != "ready")
        until(lambda: server.worker("away")["restarts"] == 1)
        status, _, answer = server.chat("hello", model="away")
        assert (status, answer["error"]["code"]) == (503, "model_failed"), answer
        until(lambda: told("debug") >= 2)  # it is looked for, and not there, all the time: that is neither a start nor news
        assert server.worker("away")["restarts"] == 1
        assert told("warning") <= 2  # missed, and then not found
        with fake_engine(port):
            until(lambda: server.chat("hello", model="away")[0] == 200)
        assert server.worker("away")["restarts"] == 1


def test_a_default_model_that_is_elsewhere_is_not_pulled_and_may_come_later(tmp_path: Path) -> None:
    port = free_port()
    models = {"away": {"engine": "external", "url": f"http://127.0.0.1:{port}/v1"}}
    with gateway(tmp_path, models, FREEHOLD_DEFAULT_CHAT="away", FREEHOLD_PRELOAD="true") as server:
        until(lambda: "away is not available yet" in server.log.read_text())
        assert not server.ready()
        with fake_engine(port):
            until(lambda: server.chat("hello")[0] == 200)
            assert server.ready()


class Elsewhere(BaseHTTPRequestHandler):
    """Sends every request to another place, and notes what reaches it there."""

    there: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path.startswith("/there"):
            self.there.append(self.path)
            self.send_response(200)
            self.end_headers()
            return
        self.send_response(307)
        self.send_header("Location", "/there/models")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def test_no_redirect_is_followed(tmp_path: Path) -> None:
    site = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{site.server_port}/v1"
        with gateway(tmp_path, {"moved": {"engine": "external", "url": url}}) as server:
            status, _, answer = server.chat("hello", model="moved")
            assert status == 503
            assert "status 307" in answer["error"]["message"]
            assert Elsewhere.there == []
    finally:
        site.shutdown()
        site.server_close()


class Garbage(BaseHTTPRequestHandler):
    """Lists one model, and answers whatever it is asked with what it was told to."""

    kind: ClassVar[str] = "application/json"
    body: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        self.answer(b'{"data": [{"id": "m"}]}', "application/json")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.body, self.kind)

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


GARBAGE: list[Any] = [
    *({}, [], 5, None, {"choices": []}, {"choices": [{}]}, {"choices": [{"delta": {}}]}, {"choices": [{"message": {}}]}),
    *(
        {"choices": [{"text": "a"}]},
        {"choices": [{"delta": {"content": "a"}, "finish_reason": 5}]},
        {"data": []},
        {"data": [{}]},
    ),
    {"choices": [{"delta": {"content": "a"}, "logprobs": {"content": [{}]}, "finish_reason": "stop"}]},
    {"choices": [{"message": {"content": "a", "tool_calls": [{}]}, "finish_reason": "stop"}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 9}]}, "finish_reason": "tool_calls"}]},
    {"data": [{"index": 0, "embedding": ["a"]}]},
    {"data": [{"index": 0, "embedding": [1e999]}]},
    {"error": {"message": 5, "code": "x"}},
    {"choices": [{"message": {"content": "\ud800"}, "finish_reason": "stop"}]},
    {"choices": [{"delta": {"content": "\ud800"}, "finish_reason": "stop"}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "\ud800"}}]}, "finish_reason": "tool_calls"}]},
    {"usage": {"prompt_tokens": 5}, "object": 5, "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
]
SAID = [{"role": "user", "content": "a"}]
ASKED = [
    ("/v1/chat/completions", {"messages": SAID}),
    ("/v1/chat/completions", {"messages": SAID, "stream": True}),
    ("/v1/chat/completions", {"messages": SAID, "logprobs": True}),
    ("/v1/chat/completions", {"messages": SAID, "logprobs": True, "stream": True, "n": 2}),
    ("/v1/completions", {"prompt": "a"}),
    ("/v1/completions", {"prompt": "a", "stream": True}),
    ("/v1/embeddings", {"input": "a", "model": "v"}),
    ("/v1/embeddings", {"input": "a", "model": "v", "dimensions": 2, "encoding_format": "base64"}),
    ("/v1/rerank", {"query": "a", "documents": ["b"], "model": "v"}),
    ("/v1/messages", {"messages": SAID, "max_tokens": 9}),
    ("/v1/messages", {"messages": SAID, "max_tokens": 9, "stream": True}),
    ("/v1/responses", {"input": "a", "store": False}),
    ("/v1/responses", {"input": "a", "store": False, "stream": True}),
    ("/api/chat", {"messages": SAID}),
]


def test_whatever_an_engine_answers_is_an_answer_or_its_fault(tmp_path: Path) -> None:
    site = ThreadingHTTPServer(("127.0.0.1", 0), Garbage)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    away = {"engine": "external", "url": f"http://127.0.0.1:{site.server_port}/v1"}
    try:
        with gateway(tmp_path, {"m": away, "v": {**away, "task": "embedding"}}) as server:
            for said in GARBAGE:
                raw = json.dumps(said).encode()
                for Garbage.kind, Garbage.body in (
                    ("application/json", raw),
                    ("text/event-stream", b"data: " + raw + b"\n\ndata: [DONE]\n\n"),
                ):
                    for path, body in ASKED:
                        status, _, answer = server.post(path, {"model": "m", **body})
                        assert status in (200, 502, 503), (said, path, status, answer)
            assert "unhandled" not in server.log.read_text()
    finally:
        site.shutdown()
        site.server_close()


def busy(server: Server, model: str) -> int:
    """The requests that a model answers; 0 also before there is a worker for it."""
    return sum(worker["busy"] for worker in server.get("/api/ps")[2]["workers"] if worker["model"] == model)


def test_a_client_that_leaves_is_no_longer_worked_for(tmp_path: Path) -> None:
    port = free_port()
    with (
        fake_engine(port),
        gateway(tmp_path, {"away": {"engine": "external", "url": f"http://127.0.0.1:{port}"}}) as server,
    ):

        def disconnects() -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/fake/stats", timeout=5) as answer:
                return int(json.load(answer)["disconnects"])

        words = '[[fake:{"tokens": 1000, "token_delay_s": 0.05}]]'
        for stream in (True, False):
            before = disconnects()
            body = json.dumps({"model": "away", "stream": stream, "messages": [{"role": "user", "content": words}]})
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
                client.sendall(f"{head}Content-Type: application/json\r\n\r\n{body}".encode())
                until(lambda: busy(server, "away") == 1)
            until(lambda before=before: disconnects() > before)  # type: ignore[misc]
            until(lambda: busy(server, "away") == 0)


@pytest.mark.parametrize("url", ["", "ftp://a/v1", "http://u:secret@a/v1", "http://a/v1?key=secret"])
def test_an_address_that_is_none_is_refused_at_the_start_and_not_repeated(url: str) -> None:
    from freehold.errors import SettingsError
    from freehold.settings import load

    with pytest.raises(SettingsError) as caught:
        load(env={"FREEHOLD_MODELS": json.dumps({"m": {"engine": "external", "url": url}})})
    assert "secret" not in str(caught.value)
    assert "models.m" in str(caught.value)


def test_a_name_that_is_none_is_refused_at_the_start() -> None:
    from freehold.errors import SettingsError
    from freehold.settings import load

    with pytest.raises(SettingsError, match="is no model's name"):
        load(env={"FREEHOLD_MODELS": json.dumps({"../m": {"engine": "external", "url": "http://a"}})})


def test_answers_have_the_models_name_here(here: Server) -> None:
    assert here.chat("hello", model="renamed")[2]["model"] == "renamed"
    body = {"model": "renamed", "stream": True, "messages": [{"role": "user", "content": "one two"}]}
    text = here.post("/v1/chat/completions", body)[2]
    assert '"model":"renamed"' in text
    assert "theirs" not in text


def test_fields_of_llama_cpp_reach_another_freehold(here: Server) -> None:
    assert here.chat("hello", model="theirs", grammar="root ::= [a-z]+", top_k=5)[0] == 200


def test_the_key_is_nowhere_to_be_seen(here: Server, upstream: Server) -> None:
    assert here.chat("hello", model="theirs")[0] == 200
    told = [
        here.get(path)[2] for path in ("/api/ps", "/v1/models", "/v1/models/theirs", "/metrics", "/api/version", "/api/tags")
    ]
    assert KEY not in json.dumps(told)
    assert KEY not in here.log.read_text()
    assert KEY not in Path(f"/proc/{here.pid}/cmdline").read_text()
    assert here.worker("theirs")["sandbox"] == {"network": upstream.root, "public": False}


def test_the_list_says_where_models_are_with_a_server_and_without(here: Server, upstream: Server) -> None:
    config = here.log.parent / "other.toml"
    config.write_text(f'[models.away]\nengine = "external"\nurl = "{upstream.base_url}"\n')
    away = freehold("list", "--config", str(config), "--data-dir", str(here.log.parent / "empty"))
    assert re.search(rf"^away +chat +at {upstream.root}$", away, re.M)
    assert "at " + upstream.root in freehold(
        "show", "away", "--config", str(config), "--data-dir", str(here.log.parent / "empty")
    )
    assert re.search(rf"^theirs .*(un)?loaded, at {upstream.root}$", freehold("list", "--url", here.root), re.M)
    assert here.chat("hello", model="theirs")[0] == 200
    assert re.search(rf"^theirs +external .* {upstream.root}$", freehold("ps", "--url", here.root), re.M)


def freehold(*words: str, check: bool = True, **env: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FREEHOLD_")} | env
    return subprocess.run([FREEHOLD, *words], env=environment, capture_output=True, text=True, check=check).stdout


def test_why_one_is_not_there_stands_below_the_table(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with gateway(tmp_path, {"nobodys": {"engine": "external", "url": url}}) as server:
        assert server.chat("hello", model="nobodys")[0] == 503
        table = freehold("ps", "--url", server.root).splitlines()
    row, why = (line for line in table if line.startswith("nobodys"))
    assert re.match(r"nobodys +external +(failed|restarting)", row)
    assert url in why
    assert "nothing listens" in why
    assert "nothing listens" not in row


def test_doctor_looks_for_engines_elsewhere(tmp_path: Path, upstream: Server) -> None:
    theirs = {"engine": "external", "url": upstream.base_url, "key_env": "UPSTREAM_KEY"}
    models: dict[str, dict[str, Any]] = {
        "theirs": theirs,
        "unset": {**theirs, "key_env": "NO_SUCH_KEY"},
        "nowhere": {"engine": "external", "url": f"http://127.0.0.1:{free_port()}"},
        "started": {"engine": "external", "command": [sys.executable, "{port}"]},
        "absent": {"engine": "external", "command": ["no-such-program", "{port}"]},
        "vllm": {"engine": "vllm", "folder": str(tmp_path)},
    }
    config = str(write(tmp_path, models))
    told = freehold("doctor", "--json", "--config", config, "--data-dir", str(tmp_path / "d"), check=False, UPSTREAM_KEY=KEY)
    found = {
        finding["detail"].partition(":")[0]: (finding["status"], finding["detail"])
        for finding in json.loads(told)
        if finding["name"] == "elsewhere"
    }
    assert found["theirs"] == ("ok", f"theirs: freehold at {upstream.root}, 4,096 tokens")
    assert found["started"] == ("ok", f"started: {sys.executable}, started when it is asked for")
    for model, status, word in (
        ("unset", "problem", "NO_SUCH_KEY"),
        ("nowhere", "note", "nothing listens there"),
        ("absent", "problem", "no-such-program is not there"),
        ("vllm", "problem", "freehold engine install vllm"),
    ):
        assert found[model][0] == status
        assert word in found[model][1]
    assert KEY not in told


def test_a_name_of_the_settings_wins_over_others_and_what_leaves_this_machine_is_said(tmp_path: Path, upstream: Server) -> None:
    own = {"engine": "external", "url": upstream.base_url, "key_env": "UPSTREAM_KEY", "upstream": "theirs"}
    far = {"engine": "external", "url": "http://192.0.2.1:9", "key_env": "UPSTREAM_KEY"}
    with gateway(tmp_path, {"gpt-4o": own, "fake": own, "far": far}, UPSTREAM_KEY=KEY) as server:
        for name in ("gpt-4o", "fake"):
            assert server.chat("hello", model=name)[2]["model"] == name
            assert server.worker(name)["engine"] == "external"
        assert [card["id"] for card in server.get("/v1/models")[2]["data"]].count("fake") == 1
        said = until(lambda: server.log.read_text() if "Freehold is ready" in server.log.read_text() else "")
        assert "the installed model fake is hidden" in said
        assert "Requests for far go to http://192.0.2.1:9, and so leave this machine." in said
        assert "whoever is on the way to http://192.0.2.1:9 can read them, and its key." in said
        assert upstream.root not in said  # what goes there stays on this machine
        status, _, answer = server.request("DELETE", "/v1/models/gpt-4o")
        assert (status, answer["error"]["param"]) == (400, "model")


def test_nothing_waits_for_an_engine_that_only_takes_connections(tmp_path: Path) -> None:
    with socket.socket() as wall:
        wall.bind(("127.0.0.1", 0))
        wall.listen(16)  # and never accepts
        url = f"http://127.0.0.1:{wall.getsockname()[1]}/v1"
        models = {"wall": {"engine": "external", "url": url, "preload": True}}
        began = time.monotonic()
        with gateway(tmp_path, models, FREEHOLD_PRELOAD="true") as server:
            until(lambda: "Freehold is ready at" in server.log.read_text(), 8)  # it would be given up after ten seconds
            assert server.chat("hello", model="fake")[0] == 200  # nor does another model's load
            assert time.monotonic() - began < 10
            assert server.worker("wall")["state"] == "loading"


def test_settings_read_anew_add_change_and_remove_engines(tmp_path: Path, upstream: Server) -> None:
    theirs = {"engine": "external", "url": upstream.base_url, "key_env": "UPSTREAM_KEY", "upstream": "theirs"}
    with gateway(tmp_path, {"one": theirs, "two": theirs}, UPSTREAM_KEY=KEY) as server:
        assert server.chat("hello", model="two")[0] == 200
        words = '[[fake:{"tokens": 30, "token_delay_s": 0.05}]] a b c'
        running: list[Any] = []
        thread = threading.Thread(target=lambda: running.append(server.chat(words, model="one")))
        thread.start()
        until(lambda: busy(server, "one") == 1)
        write(tmp_path, {"one": {**theirs, "slots": 2}, "three": theirs})
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.chat("hello", model="three")[0] == 200)
        until(lambda: "two" not in {worker["model"] for worker in server.get("/api/ps")[2]["workers"]})
        status, _, answer = server.chat("hello", model="two")
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        assert not running  # the request that began before still runs
        thread.join()
        assert running[0][0] == 200
        assert server.chat("hello", model="one")[0] == 200
        assert server.worker("one")["slots"] == 2


def test_a_way_that_leads_back_here_is_found(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    def to(server: Server) -> dict[str, Any]:
        return {"engine": "external", "url": server.base_url}

    with gateway(first, {}) as one, gateway(second, {"round": to(one)}) as two:
        write(first, {"round": to(two), "self": to(one)})
        one.process.send_signal(signal.SIGHUP)
        until(lambda: one.get("/v1/models/self")[0] == 200)
        status, _, answer = one.chat("hello", model="self")
        assert status == 503
        assert "leads back to this server" in answer["error"]["message"]
        for server in (one, two):
            until(lambda server=server: "leads back" in json.dumps(server.chat("hello", model="round")[2]), 30)  # type: ignore[misc]
