"""Models made of files that clients send: weights and adapters, by Ollama's own client, on the real engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import ollama
import pytest

from tests.conftest import Server, fake_model, serving
from tests.zoo.build import write
from tests.zoo.shapes import zoo

SHAPE = next(shape for shape in zoo() if shape.name == "llama-gqa")


@dataclass
class Place:
    server: Server
    client: ollama.Client
    folder: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data, folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("files")
    fake_model(data)
    env = {
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_ENGINE_CONTEXT": "512",
        "FREEHOLD_MAX_UPLOAD_BYTES": str(8 << 20),
    }
    with serving(data, env=env, ready=False) as server, ollama.Client(host=server.root) as client:
        yield Place(server, client, folder)


def lora(path: Path, architecture: str = "llama", kind: str = "adapter") -> Path:
    """An adapter of rank 4 for what the first block adds, large enough to be heard."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(kind)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 64.0)
    random = np.random.default_rng(1)
    wide, high = SHAPE.tensors["blk.0.ffn_down.weight"]
    for end, size in (("lora_a", (4, wide)), ("lora_b", (high, 4))):
        writer.add_tensor(f"blk.0.ffn_down.weight.{end}", random.standard_normal(size).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_model_is_made_of_a_file_and_changed_by_an_adapter(place: Place) -> None:
    client = place.client
    weights = client.create_blob(write(SHAPE, place.folder))
    assert client.create("plain", files={"model.gguf": weights}, system="Be brief.").status == "success"
    assert client.show("plain").details.family == "llama"
    adapter = client.create_blob(lora(place.folder / "lora.gguf"))
    assert client.create("changed", from_="plain", adapters={"lora.gguf": adapter}).status == "success"

    def scores(model: str) -> list[float]:
        told = client.generate(model, "hello", raw=True, logprobs=True, options={"temperature": 0, "num_predict": 4})
        return [token.logprob for token in told.logprobs]

    assert scores("plain") == pytest.approx(scores("plain"), abs=0.02)
    assert scores("plain")[0] != pytest.approx(scores("changed")[0], abs=0.02)
    client.delete("plain")
    assert client.generate("changed", "x", raw=True, options={"num_predict": 1}).done, "it has files of its own"


@pytest.mark.parametrize(
    ("architecture", "kind", "says"), [("qwen3", "adapter", "architecture"), ("llama", "model", "no LoRA")]
)
def test_an_adapter_that_does_not_fit_is_refused(place: Place, architecture: str, kind: str, says: str) -> None:
    client = place.client
    client.create("base", files={"model.gguf": client.create_blob(write(SHAPE, place.folder))})
    digest = client.create_blob(lora(place.folder / f"{architecture}-{kind}.gguf", architecture, kind))
    with pytest.raises(ollama.ResponseError, match=says) as refused:
        client.create("other", from_="base", adapters={"a.gguf": digest})
    assert refused.value.status_code == 400


def test_files_are_held_to_their_digest_and_size(place: Place) -> None:
    server, data = place.server, b"x" * 1000
    right, wrong = hashlib.sha256(data).hexdigest(), "0" * 64
    kind = {"Content-Type": "application/octet-stream"}
    assert server.get(f"/api/blobs/sha256:{right}")[0] == 404
    assert server.post(f"/api/blobs/sha256:{wrong}", data, headers=kind)[0] == 400
    assert server.get(f"/api/blobs/sha256:{wrong}")[0] == 404
    assert server.post(f"/api/blobs/sha256:{right}", data, headers=kind)[0] == 201
    assert server.request("HEAD", f"/api/blobs/sha256:{right}")[0] == 200
    assert server.post("/api/blobs/..%2f..%2fx", data, headers=kind)[0] in (400, 404)
    assert server.post("/api/blobs/sha256:x", data, headers=kind)[0] == 400
    large = b"y" * (9 << 20)
    assert server.post(f"/api/blobs/sha256:{hashlib.sha256(large).hexdigest()}", large, headers=kind)[0] == 413
    assert not list((place.server.log.parent).glob("**/tmp*"))
    status, _, answer = server.post("/api/create", {"model": "made", "files": {"m.gguf": f"sha256:{right}"}})
    assert (status, "GGUF" in answer["error"]) == (400, True), "what is no model is none"
    status, _, answer = server.post("/api/create", {"model": "made", "files": {"m.gguf": f"sha256:{wrong}"}})
    assert (status, "no uploaded file" in answer["error"]) == (400, True)
