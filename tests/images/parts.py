"""A worker that draws, as the supervisor starts it, and what tests ask of it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from freehold.fleet import environments
from freehold.fleet.engines import Deployment, launch
from freehold.fleet.environments import Environment
from freehold.hardware.plan import Knobs, Plan

TINY = {"size": 64, "steps": 4}


def write_sample(engine: Environment, folder: Path, family: str) -> Path:
    argv = environments.argv(engine.python, "freehold.workers.images.sample", str(folder), family)
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    return folder


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path):
        super().__init__("worker", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(str(self._path))


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    socket: Path
    log: Path

    def connection(self) -> _Connection:
        return _Connection(self.socket)

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, str, bytes]:
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("content-type", ""), answer.read()

    def post(self, path: str, table: Mapping[str, Any]) -> tuple[int, Any]:
        status, _, body = self.ask("POST", path, json.dumps(table).encode())
        return status, json.loads(body)

    def generate(self, **fields: Any) -> tuple[int, Any]:
        return self.post("/v1/images/generations", {"prompt": "a tree", "seed": 1, **fields})

    def form(self, path: str, files: Mapping[str, bytes], **fields: Any) -> tuple[int, Any]:
        table = {"prompt": "a tree", "seed": 1, "max_pixels": 10_000_000, **fields}
        body, kind = multipart({"request": json.dumps(table)}, files)
        status, _, answer = self.ask("POST", path, body, kind)
        return status, json.loads(answer)

    def events(self, **fields: Any) -> list[tuple[str, Any]]:
        body = json.dumps({"prompt": "a tree", "seed": 1, "stream": True, **fields}).encode()
        status, kind, text = self.ask("POST", "/v1/images/generations", body)
        assert (status, kind.partition(";")[0]) == (200, "text/event-stream")
        return events(text.decode())


def events(text: str) -> list[tuple[str, Any]]:
    """(name, data) of each event; comments are ("", line)."""
    found = []
    for block in filter(None, text.split("\n\n")):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((lines["event"], json.loads(lines["data"])) if "event" in lines else ("", block))
    return found


def multipart(fields: Mapping[str, str], files: Mapping[str, bytes]) -> tuple[bytes, str]:
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, data in files.items():
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="a.png"'
        parts.append(f"--{boundary}\r\n{disposition}\r\nContent-Type: image/png\r\n\r\n".encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@contextlib.contextmanager
def drawing(engine: Environment, folder: Path, options: Mapping[str, Any] = TINY) -> Iterator[Worker]:
    """A worker that has answered."""
    plan = Plan(context=1, slots=1, knobs=Knobs(threads=1))
    deployment = Deployment("tiny", "image", "diffusers", plan, "auto", folder=folder, options=options)
    with running(deployment, engine) as worker:
        yield worker


@contextlib.contextmanager
def running(deployment: Deployment, engine: Environment | None = None) -> Iterator[Worker]:
    with tempfile.TemporaryDirectory(prefix="fh-") as runtime:
        socket_path, log = Path(runtime) / "w.sock", Path(runtime) / "log"
        started = launch(deployment, socket_path, environment=engine)
        with log.open("wb") as sink:
            process = subprocess.Popen(started.argv, env=dict(started.env), stdin=subprocess.PIPE, stdout=sink, stderr=sink)
        try:
            worker = Worker(process, socket_path, log)
            deadline = time.monotonic() + 120
            while True:
                if process.poll() is not None:
                    raise RuntimeError(log.read_text())
                if time.monotonic() > deadline:
                    pytest.fail(f"the worker did not answer: {log.read_text()}")
                with contextlib.suppress(OSError):
                    if worker.ask("GET", "/health")[0] == 200:
                        break
                time.sleep(0.05)
            yield worker
        finally:
            process.kill()
            process.communicate()


def image_of(answer: Mapping[str, Any], index: int = 0) -> Image.Image:
    image = Image.open(io.BytesIO(data_of(answer, index)))
    image.load()
    return image


def data_of(answer: Mapping[str, Any], index: int = 0) -> bytes:
    return base64.b64decode(answer["data"][index]["b64_json"])


def png(image: Image.Image, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def photo(width: int = 64, height: int = 64) -> Image.Image:
    """A colourful picture whose pixels all differ from their neighbours."""
    image = Image.new("RGB", (width, height))
    image.putdata([(x * 37 % 256, y * 59 % 256, (x * y + 7 * x) % 256) for y in range(height) for x in range(width)])
    return image
