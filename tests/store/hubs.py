"""Hubs that speak the protocols of Hugging Face and of Ollama's registry, over the web server with faults on demand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.store.parts import Web, sha256

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """A repository of Hugging Face: files by their path. `gated` answers as the hub does to who has not accepted its terms."""

    web: Web
    name: str
    files: dict[str, Path]
    card: dict[str, Any] = field(default_factory=lambda: {"license": "apache-2.0"})
    gated: bool = False
    token: str | None = None  # wanted for everything
    redirect: bool = True  # files are given by a redirect, as large ones are
    siblings: list[dict[str, Any]] | None = None

    def serve(self) -> None:
        for prefix in (f"/api/models/{self.name}", f"/{self.name}/resolve/"):
            self.web.routes[prefix] = self._answer
        for path, file in self.files.items():
            target = self.web.root / "lfs" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())

    def _answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        asked = path.partition("?")[0]
        given = {name.lower(): value for name, value in headers.items()}
        if self.token is not None and given.get("authorization") != f"Bearer {self.token}":
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if asked.startswith("/api/models/"):
            return self._info(asked, path)
        if self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        file = unquote(asked.partition("/resolve/")[2].partition("/")[2])
        if file not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        found = self.files[file]
        linked = {"X-Linked-Etag": f'"{sha256(found)}"', "X-Linked-Size": str(found.stat().st_size), "X-Repo-Commit": REVISION}
        return 302, {"Location": f"{self.web.url}/lfs/{file}?signature=abc", **linked}, b""

    def _info(self, asked: str, path: str) -> tuple[int, dict[str, str], bytes]:
        revision = asked.partition("/revision/")[2]
        if revision not in ("", "main", REVISION):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        assert "blobs=True" in path or "blobs=true" in path
        listed = [
            {
                "rfilename": name,
                "size": file.stat().st_size,
                "blobId": "0" * 40,
                "lfs": {"sha256": sha256(file), "size": file.stat().st_size, "pointerSize": 134},
            }
            for name, file in self.files.items()
        ]
        body = {
            "id": self.name,
            "sha": REVISION,
            "gated": "manual" if self.gated else False,
            "cardData": self.card,
            "siblings": listed if self.siblings is None else self.siblings,
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


@dataclass
class Registry:
    """Ollama's registry: models by `namespace/model:tag`, each a list of layers (kind, bytes)."""

    web: Web
    manifests: dict[str, Any] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.web.routes["/v2/"] = self._answer

    def add(self, name: str, layers: Mapping[str, bytes]) -> dict[str, Any]:
        listed: list[dict[str, Any]] = []
        for kind, data in layers.items():
            digest = hashlib.sha256(data).hexdigest()
            blob = self.web.root / "blobs" / digest
            blob.parent.mkdir(exist_ok=True)
            blob.write_bytes(data)
            listed.append(
                {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}
            )
        self.manifests[name] = {"schemaVersion": 2, "layers": listed}
        return self.manifests[name]

    def _answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        _, _, namespace, model, kind, key = path.split("/")
        name = f"{namespace}/{model}:{key}"
        if kind == "manifests":
            assert headers["Accept"] == "application/vnd.docker.distribution.manifest.v2+json"
            if name in self.private:
                return 401, {"WWW-Authenticate": 'Bearer realm="x"'}, b""
            found = self.manifests.get(name)
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            return (200, {}, body) if found is not None else (404, {}, b"{}")
        return 307, {"Location": f"{self.web.url}/blobs/{key.removeprefix('sha256:')}"}, b""
