"""Servers under test: the real program in a process of its own, on real starter models or on the fake engine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from benchmarks.processes import fake_model as fake_model  # noqa: PLC0414 - the tests take it from here
from freehold.store.pull import pull
from freehold.store.store import Store

FREEHOLD = Path(sys.executable).parent / "freehold"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell takes it from what runs in the background
hypothesis.settings.register_profile("suite", deadline=None)  # how fast an example is, a crowded machine decides
hypothesis.settings.load_profile("suite")
CACHE = Path.home() / ".cache" / "freehold"  # the starter models stay here between runs
BUILD = os.environ.get("FREEHOLD_TEST_BUILD", "prebuilt")  # the engine build under test, where the data folder has it
STARTERS = ("smollm2:135m", "all-minilm:22m")


def until(condition: Callable[[], Any], within: float = 20.0) -> Any:
    """The condition's first true value; fails the test when there is none in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    pytest.fail(f"the condition did not come true within {within} s")


@dataclass
class Server:
    """A running `freehold up`."""

    process: subprocess.Popen[str]
    root: str
    log: Path
    key: str | None = None
    output: list[str] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"{self.root}/v1"

    @property
    def port(self) -> int:
        return int(self.root.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self.process.pid

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> tuple[int, dict[str, str], Any]:
        """(status, headers, JSON or text); an error status is a result like any other."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(self.root + path, data=data, method=method, headers=sent | dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return self._answer(response)
        except urllib.error.HTTPError as error:
            with error:
                return self._answer(error)

    @staticmethod
    def _answer(response: Any) -> tuple[int, dict[str, str], Any]:
        raw = response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status, headers, json.loads(raw) if headers.get("content-type") == "application/json" else raw.decode()

    def get(self, path: str, **options: Any) -> tuple[int, dict[str, str], Any]:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> tuple[int, dict[str, str], Any]:
        return self.request("POST", path, body, **options)

    def chat(self, text: str, **fields: Any) -> tuple[int, dict[str, str], Any]:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **fields}
        return self.post("/v1/chat/completions", body)

    def worker(self, model: str) -> dict[str, Any]:
        _, _, body = self.get("/api/ps")
        return next(worker for worker in body["workers"] if worker["model"] == model)

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        total = 0.0
        for line in self.get("/metrics")[2].splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name:
                given = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                if labels.items() <= given.items():
                    total += float(found[3])
        return total

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(within)


@contextlib.contextmanager
def serving(
    data_dir: Path, *options: str, env: Mapping[str, str] | None = None, ready: bool = True, key: str | None = None
) -> Iterator[Server]:
    """`freehold up --port 0` over a data folder, stopped afterwards whatever the test did."""
    folder = Path(tempfile.mkdtemp(prefix="fh-"))
    log = folder / "log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FREEHOLD_")}
    build = BUILD if (data_dir / "engines" / BUILD).is_dir() else "prebuilt"
    environment |= {"TMPDIR": str(folder), "FREEHOLD_STARTER": "false", "FREEHOLD_ENGINE_BUILD": build, **(env or {})}
    if key:
        environment["FREEHOLD_API_KEY"] = key
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [FREEHOLD, "up", "--port", "0", "--data-dir", data_dir, *options],
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
            text=True,
        )
    try:

        def address() -> str | None:
            text = log.read_text()
            found = re.search(r"listening on (http://\S+)", text)
            if process.poll() is not None and not found:
                pytest.fail(f"freehold up ended with {process.returncode}: {text}")
            return found[1] if found else None

        server = Server(process, until(address), log, key)
        if ready:
            until(server.ready, 60)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def starters() -> Path:
    """A data folder with both starter models, pulled once for this machine."""
    store = Store(CACHE)
    for name in STARTERS:
        if not store.has(name):
            pull(store, name, on_progress=lambda progress: None)
    return CACHE


@pytest.fixture(scope="session")
def server(starters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on the real starter models; what it stores is gone afterwards."""
    stored = tmp_path_factory.mktemp("stored") / "stored.db"
    with serving(starters, env={"FREEHOLD_STATE_URL": f"sqlite:///{stored}"}) as running:
        until(lambda: {w["model"]: w["state"] for w in running.get("/api/ps")[2]["workers"]}.get(STARTERS[1]) == "ready")
        yield running


@pytest.fixture(scope="session")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on the fake engine: a chat model and an embedding model."""
    data = tmp_path_factory.mktemp("fake")
    fake_model(data)
    fake_model(data, "fake-embedding", "embedding")
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake-embedding",
        "FREEHOLD_TIMEOUTS_IDLE": "3",
    }
    with serving(data, env=environment) as running:
        yield running
