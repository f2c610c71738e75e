"""Models that other programs keep on this machine: found under their names, used where they lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import ModelNotFound, NotInstalled, StoreError
from freehold.hardware.probe import probe
from freehold.routing.catalog import Catalog
from freehold.routing.planner import Home, Planner
from freehold.settings import Settings
from freehold.store.found import Found, Roots, usual
from freehold.store.store import Store
from tests.cli.parts import assert_one_line, run
from tests.conftest import fake_model, serving
from tests.store.parts import sha256, write_gguf

CHATML = "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>{{ end }}<|im_start|>user\n{{ .Prompt }}<|im_end|>"


def write_ollama(
    root: Path,
    model: Path,
    name: str = "library/qwen3/4b",
    layers: Mapping[str, bytes] | None = None,
    registry: str = "registry.ollama.ai",
) -> None:
    """A model as Ollama keeps it: a manifest and its blobs."""
    blobs = root / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    listed: list[dict[str, Any]] = []
    for kind, data in {"model": model.read_bytes(), **(layers or {})}.items():
        digest = hashlib.sha256(data).hexdigest()
        (blobs / f"sha256-{digest}").write_bytes(data)
        listed.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)})
    manifest = root / "manifests" / "registry.ollama.ai" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": listed}))


def write_hub(root: Path, repository: str, files: Mapping[str, Path]) -> Path:
    """A repository as huggingface_hub caches it: blobs, and a snapshot of links to them."""
    folder = root / f"models--{repository.replace('/', '--')}"
    revision = "a" * 40
    for path, source in files.items():
        blob = folder / "blobs" / sha256(source)
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, blob)
        link = folder / "snapshots" / revision / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(revision)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a model of each program."""
    home = tmp_path / "home"
    model = write_gguf(tmp_path / "m.gguf")
    params = json.dumps({"temperature": 0.6, "stop": ["<|im_end|>"], "num_ctx": 2048, "num_gpu": 99}).encode()
    write_ollama(
        home / ".ollama" / "models",
        model,
        layers={"params": params, "template": CHATML.encode(), "system": b"You are a pirate."},
    )
    beside = home / ".lmstudio" / "models" / "org" / "Tiny-GGUF"
    beside.mkdir(parents=True)
    shutil.copy(model, beside / "Tiny-Q8_0.gguf")
    cache = home / ".cache"
    parts = [
        write_gguf(tmp_path / f"p{number}", seed=number, split__count=2, split__no=number, rename=f"part{number}")
        for number in range(2)
    ]
    write_hub(
        cache / "huggingface" / "hub",
        "org/Big-GGUF",
        {"big-00001-of-00002.gguf": parts[0], "big-00002-of-00002.gguf": parts[1], "README.md": model},
    )
    (cache / "llama.cpp").mkdir(parents=True)
    shutil.copy(model, cache / "llama.cpp" / "org_repo_tiny.gguf")
    return home


NAMES = ["hf/org/Big-GGUF:big", "llamacpp/org_repo_tiny", "lmstudio/org/Tiny-GGUF/Tiny-Q8_0", "ollama/qwen3:4b"]


def roots(home: Path) -> Roots:
    """Those of a home alone, without the folders of the whole machine."""
    found = usual({}, home)
    return Roots(tuple(path for path in found.ollama if path.is_relative_to(home)), found.lmstudio, found.hub, found.llamacpp)


def catalog_of(store: Store, home: Path, **given: Any) -> Catalog:
    settings = Settings(data_dir=store.data_dir, **given)
    return Catalog(store, settings, Planner(settings, Home.of(probe(), settings)), Found(roots(home)))


def test_a_model_of_each_program_is_found(home: Path) -> None:
    models, problems = Found(roots(home)).all()
    assert [model.name for model in models] == NAMES
    assert problems == []
    assert all(model.in_place and model.facts for model in models)
    by_name = {model.name: model for model in models}
    ollama = by_name["ollama/qwen3:4b"]
    assert ollama.sampling == {"temperature": 0.6, "stop": ("<|im_end|>",)}
    assert ollama.options["context"] == 2048
    assert "num_gpu" in ollama.notes[0]
    assert ollama.system == "You are a pirate."
    assert ollama.files[0].digest
    big = by_name["hf/org/Big-GGUF:big"]
    assert [file.name for file in big.all("weights")] == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]
    assert all(file.digest for file in big.files)


def test_the_variables_of_the_programs_say_where_to_look(tmp_path: Path) -> None:
    env = {"OLLAMA_MODELS": "/o", "HF_HOME": "/h", "LLAMA_CACHE": "/l", "XDG_CACHE_HOME": "/x"}
    found = usual(env, tmp_path)
    assert found.ollama[0] == Path("/o")
    assert found.hub == (Path("/h/hub"),)
    assert found.llamacpp == (Path("/l"),)
    assert Path("/x/lm-studio/models") in found.lmstudio
    assert usual({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, tmp_path).hub == (Path("/c"),)
    assert usual({"OLLAMA_MODELS": "relative"}, tmp_path).ollama[0] == tmp_path / ".ollama" / "models"


def test_a_name_leads_to_a_deployment_on_the_file_itself(home: Path, store: Store) -> None:
    catalog = catalog_of(store, home)
    for name in NAMES:
        entry = catalog.resolve(name)
        assert entry.manifest.name == name
        assert entry.deployment.weights is not None
        assert entry.deployment.weights.is_relative_to(home)
        assert catalog.resolve(name) is entry
    assert catalog.resolve("ollama/qwen3:4b").deployment.context == 256  # the model's own is less than its maker's wish
    assert list(catalog.entries()) == []
    assert [entry.manifest.name for entry in catalog.entries(everything=True)] == NAMES
    assert not (store.data_dir / "models").exists()


def test_a_file_that_goes_is_said_and_one_that_changes_is_another_model(home: Path, store: Store) -> None:
    catalog = catalog_of(store, home)
    before = catalog.resolve("lmstudio/org/Tiny-GGUF/Tiny-Q8_0")
    file = home / ".lmstudio" / "models" / "org" / "Tiny-GGUF" / "Tiny-Q8_0.gguf"
    write_gguf(file, seed=9)
    after = catalog.resolve("lmstudio/org/Tiny-GGUF/Tiny-Q8_0")
    assert after.deployment != before.deployment
    file.unlink()
    with pytest.raises(ModelNotFound, match="its files are gone"):
        catalog.resolve("lmstudio/org/Tiny-GGUF/Tiny-Q8_0")
    with pytest.raises(ModelNotFound, match="list --all"):
        catalog.resolve("ollama/nothing:1b")
    with pytest.raises(ModelNotFound, match="does not exist here"):
        catalog.resolve("some/name")


def test_it_can_be_switched_off(home: Path, store: Store) -> None:
    catalog = catalog_of(store, home, sources={"found": False})
    with pytest.raises(ModelNotFound):
        catalog.resolve("ollama/qwen3:4b")
    assert list(catalog.entries(everything=True)) == []


def test_what_cannot_be_used_is_a_problem_of_its_own(home: Path) -> None:
    folder = home / ".lmstudio" / "models" / "org" / "Tiny-GGUF"
    (folder / "junk.gguf").write_bytes(b"GGUF" + b"\xff" * 50)
    found = Found(roots(home))
    models, problems = found.all()
    assert [model.name for model in models] == NAMES
    assert [str(problem).partition(":")[0] for problem in problems] == ["lmstudio/org/Tiny-GGUF/junk"]
    with pytest.raises(StoreError, match="GGUF"):
        found.get("lmstudio/org/Tiny-GGUF/junk")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "[" * 100_000,
        lambda text: "{}",
        lambda text: json.dumps({"layers": [{"mediaType": "x", "digest": "sha256:" + "../" * 21 + "x", "size": 1}]}),
        lambda text: text.replace("sha256:", "sha256:../../"),
        lambda text: text.replace('"size": ', '"size": -'),
        lambda text: text.replace("image.model", "image.adapter"),
        lambda text: json.dumps({"layers": [{}] * 1000}),
        lambda text: json.dumps({"layers": json.loads(text)["layers"] * 2}),
    ],
)
def test_a_manifest_of_ollamas_that_makes_no_sense_is_passed_over(home: Path, damage: Any) -> None:
    path = home / ".ollama" / "models" / "manifests" / "registry.ollama.ai" / "library" / "qwen3" / "4b"
    path.write_text(damage(path.read_text()))
    models, _ = Found(roots(home)).all()
    assert [model.name for model in models] == NAMES[:3]


def test_a_blob_that_is_not_its_digest_is_not_believed(home: Path) -> None:
    for blob in (home / ".ollama" / "models" / "blobs").iterdir():
        if blob.stat().st_size < 1000:
            blob.write_bytes(b'{"temperature": 2}'.ljust(blob.stat().st_size))
    assert Found(roots(home)).all()[0][-1].name != "ollama/qwen3:4b"


def test_names_on_the_disk_that_are_none_do_no_harm(home: Path) -> None:
    folder = home / ".lmstudio" / "models"
    model = folder / "org" / "Tiny-GGUF" / "Tiny-Q8_0.gguf"
    for name in ("a b/c d/x y.gguf", "..a/b/c.gguf", "ü/ö/ä.gguf", "a/b/..gguf", "o/r/-rf.gguf", "o/r/new\nline.gguf"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(model, path)
    (folder / "loop").symlink_to(folder)
    models, _ = Found(roots(home)).all()
    assert all("\n" not in model.name and ".." not in model.name for model in models)
    for name in ("ollama/../../etc/passwd", "hf/..:x", "lmstudio//etc/passwd"):
        with pytest.raises(NotInstalled):
            Found(roots(home)).get(name)


def test_the_command_line_and_the_server_show_and_serve_them(home: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    there = ("--data-dir", data)
    assert json.loads(run(home, "list", "--json", *there).out) == []
    names = [row["name"] for row in json.loads(run(home, "list", "--all", "--json", *there).out)]
    assert set(NAMES) <= set(names)
    shown = run(home, "show", "ollama/qwen3:4b", *there).out
    assert "ollama:qwen3:4b" in shown
    assert "system message  You are a pirate." in shown
    assert_one_line(run(home, "rm", "ollama/qwen3:4b", *there), 1, "not installed")
    off = {"FREEHOLD_SOURCES_FOUND": "false", "FREEHOLD_URL": ""}
    assert_one_line(run(home, "show", "ollama/qwen3:4b", *there, env=off), 1, "not installed")
    fake_model(data)
    env = {"HOME": str(home), "XDG_CACHE_HOME": "", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(data, "--model", "fake", env=env) as server:
        assert [card["id"] for card in server.get("/v1/models")[2]["data"]] == ["fake"]
        assert set(NAMES) <= {card["id"] for card in server.get("/v1/models?all=true")[2]["data"]}
        assert server.get("/v1/models?all=maybe")[0] == 400
        status, _, card = server.get("/v1/models/lmstudio/org/Tiny-GGUF/Tiny-Q8_0")
        assert (status, card["source"]) == (200, "lmstudio")
        assert str(home) not in json.dumps(card)
        status, _, answer = server.request("DELETE", "/v1/models/ollama/qwen3:4b")
        assert status == 400
        assert "another program" in answer["error"]["message"]
