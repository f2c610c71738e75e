"""Pulls from end to end: by the command line, by the server, watched from outside, and then asked on the real engine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.store.ollama.templates import _MARKERS
from freehold.store.store import Store
from tests.cli.parts import assert_one_line, environment, run
from tests.conftest import FREEHOLD, Server, fake_model, serving, until
from tests.store.hubs import Registry, Repository
from tests.store.parts import Web, sha256, web_server, write_gguf
from tests.store.test_found import write_hub, write_ollama
from tests.zoo.build import write
from tests.zoo.shapes import zoo

ENGINE = {
    "FREEHOLD_PRELOAD": "false",
    "FREEHOLD_DEFAULT_CHAT": "fake",
    "FREEHOLD_DEFAULT_EMBEDDING": "fake",
    "FREEHOLD_ENGINE_CONTEXT": "256",
    "FREEHOLD_ENGINE_SLOTS": "1",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One web server that is Hugging Face, Ollama's registry and a place of files."""
    root = tmp_path_factory.mktemp("hub")
    with web_server(root) as web:
        yield web


def sources(hub: Web) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "FREEHOLD_SOURCES_OLLAMA_REGISTRY": hub.url,
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    fake_model(folder)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where other programs keep their models."""
    return tmp_path_factory.mktemp("others")


@pytest.fixture(scope="module")
def keeper(hub: Web, data: Path, others: Path) -> Iterator[Server]:
    places = {"OLLAMA_MODELS": str(others / "ollama"), "HF_HUB_CACHE": str(others / "hub")}
    with serving(data, env={**ENGINE, **sources(hub), **places}, ready=False) as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults(hub: Web) -> Iterator[None]:
    yield
    if hub.gate is not None:
        hub.gate.set()
    hub.gate, hub.routes = None, {}


def shape(name: str) -> Any:
    return next(each for each in zoo() if each.name == name)


def events(server: Server, method: str, path: str, body: Any = None) -> list[Any]:
    """All of a stream of server-sent events."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        server.root + path, data, {"Content-Type": "application/json"} if data else {}, method=method
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = [line[6:] for line in response.read().decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def answers(server: Server, model: str) -> None:
    status, _, answer = server.post(
        "/v1/chat/completions",
        {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "grammar": "root ::= [a-z ]+"},
    )
    assert status == 200, answer
    assert 1 <= answer["usage"]["completion_tokens"] <= 4


def test_a_model_of_ollamas_registry_is_pulled_with_its_progress_and_answers(hub: Web, keeper: Server, tmp_path: Path) -> None:
    """With each family's template in turn: the weights have none, so the engine runs the one that stands in for Ollama's."""
    registry = Registry(hub)
    weights = write(shape("llama-without-template"), tmp_path).read_bytes()
    for family, markers in _MARKERS:
        registry.add(f"library/tiny:{family}", {"model": weights, "template": " ".join(markers).encode()})
        seen = events(keeper, "POST", "/api/pulls", {"reference": f"ollama:tiny:{family}", "stream": True})
        assert seen[-1]["state"] == "done"
        assert seen[-1]["name"] == f"tiny:{family}"
        assert all(event["state"] == "running" for event in seen[:-1])
        assert Store(keeper_data(keeper)).get(f"tiny:{family}").file("chat_template") is not None
        answers(keeper, f"tiny:{family}")


def keeper_data(server: Server) -> Path:
    """The data folder that a server was started with."""
    return Path(server.process.args[server.process.args.index("--data-dir") + 1])  # type: ignore[union-attr, index, arg-type]


def test_a_model_in_parts_comes_from_hugging_face_and_answers(hub: Web, keeper: Server, tmp_path: Path) -> None:
    first = write(shape("llama-sharded"), tmp_path)
    parts = {path.name.replace("llama-sharded", "llama-sharded-Q4_0"): path for path in sorted(tmp_path.glob("*.gguf"))}
    assert len(parts) == 3
    assert first.exists()
    Repository(hub, "org/Sharded", parts).serve()
    status, _, pull = keeper.post("/api/pulls", {"reference": "hf:org/Sharded", "name": "sharded"})
    assert status == 202
    seen = events(keeper, "GET", f"/api/pulls/{pull['id']}/events")
    assert seen[-1]["state"] == "done", seen[-1]
    answers(keeper, "sharded")
    assert keeper.get("/v1/models/sharded")[2]["meta"]["size"] == sum(path.stat().st_size for path in parts.values())


def test_models_of_other_programs_answer_where_they_lie(keeper: Server, others: Path, data: Path, tmp_path: Path) -> None:
    whole = write(shape("llama-without-template"), tmp_path)
    write_ollama(others / "ollama", whole, "library/mine/1b", {"template": b"<|im_start|> <|im_end|>"})
    write(shape("llama-sharded"), tmp_path)
    write_hub(others / "hub", "org/Parts", {path.name: path for path in tmp_path.glob("llama-sharded-*.gguf")})
    before = sorted(path.name for path in (data / "models" / "manifests").iterdir())
    for name in ("ollama/mine:1b", "hf/org/Parts:llama-sharded"):
        answers(keeper, name)
        assert name not in [card["id"] for card in keeper.get("/v1/models")[2]["data"]]
        assert name in [card["id"] for card in keeper.get("/v1/models?all=true")[2]["data"]]
    assert sorted(path.name for path in (data / "models" / "manifests").iterdir()) == before
    shutil.rmtree(others / "ollama")
    status, _, answer = keeper.post(
        "/v1/chat/completions", {"model": "ollama/mine:1b", "messages": [{"role": "user", "content": "x"}]}
    )
    assert status == 404
    assert "its files are gone" in answer["error"]["message"]


def test_a_pull_is_watched_and_cancelled_from_outside(hub: Web, keeper: Server) -> None:
    model = write_gguf(hub.root / "slow.gguf", tokens=20_000)
    hub.gate = threading.Event()
    body = {"reference": f"{hub.url}/slow.gguf", "sha256": sha256(model)}
    identity = keeper.post("/api/pulls", body)[2]["id"]
    seen: list[Any] = []
    watcher = threading.Thread(target=lambda: seen.extend(events(keeper, "GET", f"/api/pulls/{identity}/events")))
    watcher.start()
    progress = until(lambda: (keeper.get(f"/api/pulls/{identity}")[2]["progress"] or {}).get("done"))
    assert progress < model.stat().st_size
    assert {"rate_bytes_per_s", "eta_s"} <= keeper.get(f"/api/pulls/{identity}")[2]["progress"].keys()
    assert keeper.request("DELETE", f"/api/pulls/{identity}")[2]["state"] == "cancelled"
    watcher.join(20)
    assert seen[-1]["state"] == "cancelled"
    assert keeper.get("/v1/models/slow")[0] == 404
    hub.gate.set()
    hub.gate = None
    assert events(keeper, "POST", "/api/pulls", {**body, "stream": True})[-1]["state"] == "done"  # what came is gone on from


def test_a_pull_that_fails_ends_its_stream_with_the_reason(hub: Web, keeper: Server) -> None:
    last = events(keeper, "POST", "/api/pulls", {"reference": f"{hub.url}/nothing.gguf", "stream": True})[-1]
    assert last["state"] == "failed"
    assert "404" in last["error"]["message"]
    assert keeper.get("/api/pulls/pull_999/events")[0] == 404
    assert keeper.post("/api/pulls", {"reference": "x", "stream": "yes"})[0] == 400


def test_several_models_are_pulled_at_once_here_and_by_the_server(hub: Web, keeper: Server, tmp_path: Path) -> None:
    for number in range(3):
        write_gguf(hub.root / f"m{number}.gguf", seed=number)
    wanted = [f"{hub.url}/m{number}.gguf" for number in range(3)]
    there = ("--data-dir", tmp_path / "data")
    for where in (there, ("--url", keeper.root)):
        done = run(tmp_path, "pull", *wanted, "--json", *where, env=sources(hub))
        assert done.code == 0, done
        assert [row["name"] for row in json.loads(done.out)] == ["m0", "m1", "m2"]
        assert done.err.count("note: ") == 3  # no digest was given: the pins are told
    mixed = run(tmp_path, "pull", wanted[0], f"{hub.url}/none.gguf", *there)
    assert_one_line(mixed, 1, "404")
    assert mixed.out == "m0 is installed.\n"
    assert_one_line(run(tmp_path, "pull", *wanted, "--name", "x", *there), 2, "single model")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_all_pulls_of_a_command(hub: Web, tmp_path: Path, number: signal.Signals) -> None:
    wanted = [f"{hub.url}/{write_gguf(hub.root / f'c{each}.gguf', tokens=20_000, seed=each).name}" for each in range(2)]
    hub.gate = threading.Event()
    before = len(hub.requests)
    with subprocess.Popen(
        [FREEHOLD, "pull", *wanted, "--data-dir", tmp_path / "data"],
        env=environment(tmp_path, sources(hub)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: len(hub.requests) >= before + 2)
        process.send_signal(number)
        assert process.wait(20) == (130 if number == signal.SIGINT else 143)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert Store(tmp_path / "data").list() == []
