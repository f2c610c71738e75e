"""A hub on this machine that answers for repositories as Hugging Face's API does."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Hub:
    """`repositories` by name: what /api/models/<name> answers, or a status to fail with."""

    url: str
    repositories: dict[str, Mapping[str, Any] | int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, files: Mapping[str, tuple[int, str | None]], license: str | None = None) -> None:
        """`files` by path: bytes, and the sha256 of those in LFS."""
        siblings = [
            {"rfilename": path, "size": size, "blobId": "0" * 40}
            | ({"lfs": {"sha256": sha256, "size": size, "pointerSize": 135}} if sha256 else {})
            for path, (size, sha256) in files.items()
        ]
        self.repositories[name] = {
            "id": name,
            "sha": "1" * 40,
            "private": False,
            "tags": ["gguf", *([f"license:{license}"] if license else [])],
            "siblings": siblings,
        }


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    hub: Hub

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = urlsplit(self.path).path.removeprefix("/api/models/")
            hub.asked.append(name)
            found = hub.repositories.get(name, 404)
            body = json.dumps({"error": "Repository not found"} if isinstance(found, int) else found).encode()
            self.send_response(found if isinstance(found, int) else 200)
            if found == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub = Hub(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
