"""Models of engines that run elsewhere: a second Freehold, and the fake engine over TCP."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import openai
import pytest

from tests.conftest import Server, fake_model, serving, until

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


@contextlib.contextmanager
def gateway(folder: Path, models: dict[str, dict[str, Any]], **env: str) -> Iterator[Server]:
    tables = [
        "\n".join([f"[models.{json.dumps(name)}]", *(f"{key} = {json.dumps(value)}" for key, value in own.items())])
        for name, own in models.items()
    ]
    config = folder / "freehold.toml"
    config.write_text("\n".join(tables))
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
    with serving(data, "--config", str(config), env=environment, ready=False) as running:
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
    with gateway(tmp_path, {"away": {"engine": "external", "url": f"http://127.0.0.1:{port}/v1"}}) as server:
        with fake_engine(port):
            assert server.chat("hello", model="away")[0] == 200
        until(lambda: server.worker("away")["state"] != "ready")
        status, _, answer = server.chat("hello", model="away")
        assert (status, answer["error"]["code"]) == (503, "model_failed"), answer
        with fake_engine(port):
            until(lambda: server.chat("hello", model="away")[0] == 200)


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


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a/v1", "http://", "http://u:p@a/v1", "http://a/v1?x=1", "http://a:99999/v1", "http://ä/v1", "http://a/v 1"],
)
def test_an_address_that_is_none_is_refused_at_the_start(url: str) -> None:
    from freehold.errors import SettingsError
    from freehold.settings import load

    with pytest.raises(SettingsError):
        load(env={"FREEHOLD_MODELS": json.dumps({"m": {"engine": "external", "url": url}})})
