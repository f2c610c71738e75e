"""Small real things to pull: GGUF files, wheels, a package registry, and a web server with faults on demand."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from freehold.store.starter import STARTERS, Starter

CHAT, EMBEDDING = STARTERS["smollm2:135m"], STARTERS["all-minilm:22m"]


def write_gguf(
    path: Path, arch: str = "llama", tokens: int = 40, seed: int = 0, rename: str = "", template: bool = True, **extra: Any
) -> Path:
    """A complete, tiny GGUF file with the metadata that a model has; `rename` makes its tensors those of another part."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token{number}" for number in range(tokens)])
    if template:
        writer.add_chat_template("{{ messages }}")
    for key, value in extra.items():
        name = key.replace("__", ".")
        if isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_uint32(name, value)
    numbers = np.random.default_rng(seed)
    writer.add_tensor(rename or "token_embd.weight", numbers.standard_normal((tokens, 32), dtype=np.float32))
    writer.add_tensor(f"{rename}.norm" if rename else "output_norm.weight", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_wheel(folder: Path, starter: Starter, contents: Mapping[str, bytes], metadata: bool = True) -> Path:
    """A wheel under the starter's name and version with these files in it."""
    package, _, version = starter.requirement.partition("==")
    stem = f"{package.replace('-', '_')}-{version}"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
        if metadata:
            archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
            archive.writestr(
                f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{stem}.dist-info/RECORD", "")
    return wheel


def of_the_right_size(starter: Starter) -> dict[str, bytes]:
    """Files as large as the pinned ones, but not them."""
    return {member.path: bytes(member.size) for member in starter.members}


def index(root: Path, starter: Starter) -> None:
    """A simple package index (PEP 503) of the starter's package below `root`."""
    package = starter.requirement.partition("==")[0]
    page = root / "simple" / package / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    links = "".join(f'<a href="/{wheel.name}">{wheel.name}</a>' for wheel in root.glob("*.whl"))
    page.write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


def only(url: str) -> dict[str, str]:
    """An environment in which pip knows one index and nothing of this machine's configuration."""
    return {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": url,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_NO_INDEX": "",
        "PIP_RETRIES": "1",
        "PIP_DEFAULT_TIMEOUT": "10",
        "no_proxy": "127.0.0.1",
    }


@dataclass
class Web:
    """Files over HTTP. Faults: stop after `cut` bytes of an answer (once), ignore or misread Range, redirect, fail.

    `flip` is the place of a byte that arrives wrong, once; `pause` seconds lie between pieces of `piece` bytes; `routes` answer
    for paths, with (status, headers, body).
    """

    root: Path
    url: str = ""
    etag: str | None = '"one"'
    cut: int | None = None
    cuts: list[int] = field(default_factory=list)  # the next answers end after so many bytes
    then: Callable[[], None] = lambda: None  # once, after an answer that was cut
    ignore_range: bool = False
    answer_range_of_another_file: bool = False
    status: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)  # of an answer of `status`
    redirect: str | None = None
    length: bool = True
    encoding: str | None = None
    gate: threading.Event | None = None
    flip: int | None = None
    pause: float = 0.0
    piece: int = 1 << 16
    sent: int = 0  # bytes of bodies
    one_at_a_time: bool = False  # a second request at the same time is answered 429
    refused: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)
    count: threading.Lock = field(default_factory=threading.Lock)
    routes: dict[str, Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def asked(self, name: str) -> list[dict[str, str]]:
        """The headers of the requests for a file."""
        return [headers for path, headers in self.requests if path.partition("?")[0].endswith(name)]


class _Handler(http.server.BaseHTTPRequestHandler):
    web: Web

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        web = self.web
        web.requests.append((self.path, dict(self.headers)))
        if web.status:
            self._plain(web.status.pop(0), web.headers, b"")
            return
        if web.redirect is not None:
            self._plain(302, {"Location": web.redirect}, b"")
            return
        path = self.path.partition("?")[0]
        for prefix, route in web.routes.items():
            if path.startswith(prefix):
                self._plain(*route(self.path, dict(self.headers)))
                return
        file = web.root / path.lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        if not file.is_file():
            self._plain(404, {}, b"")
            return
        if web.one_at_a_time and not web.busy.acquire(blocking=False):
            web.refused += 1
            self._plain(429, {}, b"")
            return
        try:
            self._file(web, file.read_bytes(), "text/html" if file.suffix == ".html" else "application/octet-stream")
        finally:
            if web.one_at_a_time:
                web.busy.release()

    def _plain(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

    def _file(self, web: Web, data: bytes, kind: str) -> None:
        begin, end = 0, len(data)
        wanted = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, web.etag) or web.answer_range_of_another_file
        if wanted and fresh and not web.ignore_range:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(len(data), int(last) + 1 if last else len(data))
            if begin >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = bytearray(data[begin:end])
        self.send_header("Content-Type", kind)
        if web.length:
            self.send_header("Content-Length", str(len(body)))
        if web.etag:
            self.send_header("ETag", web.etag)
        if web.encoding:
            self.send_header("Content-Encoding", web.encoding)
        self.end_headers()
        if self.command == "HEAD":
            return
        if web.flip is not None and begin <= web.flip < end:
            body[web.flip - begin] ^= 1
            web.flip = None
        cut, web.cut = web.cut, None
        if web.cuts:
            cut = web.cuts.pop(0)
        with contextlib.suppress(ConnectionError):
            self._body(web, bytes(body if cut is None else body[:cut]), gated=kind != "text/html")
        if cut is not None:
            web.then()

    def _body(self, web: Web, body: bytes, gated: bool) -> None:
        if web.gate is not None and gated:
            self._write(web, body[: len(body) // 2])
            web.gate.wait(30)
            body = body[len(body) // 2 :]
        if not web.pause:
            self._write(web, body)
            return
        for at in range(0, len(body), web.piece):
            self._write(web, body[at : at + web.piece])
            time.sleep(web.pause)

    def _write(self, web: Web, body: bytes) -> None:
        self.wfile.write(body)
        self.wfile.flush()
        with web.count:
            web.sent += len(body)


@contextlib.contextmanager
def web_server(root: Path) -> Iterator[Web]:
    web = Web(root)
    handler = type("Handler", (_Handler,), {"web": web})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        web.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield web
        finally:
            if web.gate is not None:
                web.gate.set()
            server.shutdown()
            thread.join()
