"""Manifests of every form: models in several parts, files that lie elsewhere, and what earlier versions wrote."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from freehold.errors import StoreError
from freehold.hardware.facts import facts_of
from freehold.hardware.gguf import read_header
from freehold.hardware.probe import probe
from freehold.routing.catalog import Catalog
from freehold.routing.planner import Home, Planner
from freehold.settings import Settings
from freehold.store.manifest import File, Manifest, dumps, loads
from freehold.store.store import Store, digest_of
from tests.store.parts import write_gguf

OLD = {
    "schema": 1,
    "name": "old",
    "task": "chat",
    "engine": "llama.cpp",
    "files": [{"role": "weights", "name": "x.gguf", "digest": "sha256:" + "0" * 64, "size": 5}],
    "source": "file",
    "license": None,
    "created": 3,
    "facts": None,
    "sampling": {"temperature": 1},
    "dimensions": [],
    "options": {},
    "description": "",
}


def put(store: Store, path: Path, role: str = "weights") -> File:
    """A file moved into the store."""
    digest = digest_of(path)
    size = path.stat().st_size
    store.add_blob(path, digest)
    return File(role, path.name, digest, size)  # type: ignore[arg-type]


def lying(path: Path, role: str = "weights") -> File:
    """A file used where it is."""
    found = path.stat()
    return File(role, path.name, None, found.st_size, str(path), found.st_mtime_ns)  # type: ignore[arg-type]


def manifest(*files: File, name: str = "m") -> Manifest:
    return Manifest(name=name, task="chat", engine="llama.cpp", files=files, source="test", license=None, created=0)


def test_what_an_earlier_version_wrote_is_read() -> None:
    old = loads(json.dumps(OLD), "old")
    assert old.files == (File("weights", "x.gguf", "sha256:" + "0" * 64, 5),)
    assert loads(dumps(old), "old") == old


def test_facts_that_came_later_take_their_defaults_and_unknown_ones_are_left_out(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf")
    facts = facts_of(read_header(path), 1)
    whole = json.loads(dumps(dataclasses.replace(manifest(lying(path)), facts=facts)))
    whole["facts"]["of_the_future"] = [1, 2]
    assert loads(json.dumps(whole), "m").facts == facts
    optional = [item.name for item in dataclasses.fields(facts) if item.default is not dataclasses.MISSING]
    for name in optional:
        del whole["facts"][name]
    assert loads(json.dumps(whole), "m").facts is not None
    whole["facts"]["parameters"] = "many"
    with pytest.raises(StoreError, match=r"facts\.parameters"):
        loads(json.dumps(whole), "m")


@pytest.mark.parametrize(
    "change",
    [
        {"digest": None},
        {"digest": "sha256:../../etc/passwd"},
        {"digest": None, "path": "relative/x.gguf"},
        {"digest": None, "path": "/a\0b"},
        {"size": 0},
        {"size": True},
        {"role": "pickle"},
        {"extra": 1},
    ],
)
def test_a_file_that_is_none_is_refused(change: dict[str, object]) -> None:
    whole = json.loads(json.dumps(OLD))
    whole["files"][0] |= change
    with pytest.raises(StoreError, match="freehold rm old"):
        loads(json.dumps(whole), "old")


def test_parts_are_served_beside_each_other_under_the_names_an_engine_derives(store: Store, tmp_path: Path) -> None:
    parts = [put(store, write_gguf(tmp_path / f"part{number}", seed=number)) for number in range(3)]
    model = manifest(*parts)
    store.install(model, {})
    first = store.serving(model, "weights")
    assert first is not None
    assert first.name == "model-00001-of-00003.gguf"
    for number, part in enumerate(parts, 1):
        beside = first.with_name(f"model-{number:05d}-of-00003.gguf")
        assert beside.resolve() == store.path(part).resolve()
    moved = Store(tmp_path / "elsewhere")
    shutil.move(store.data_dir, moved.data_dir)
    assert moved.has("m")
    moved.remove("m")
    assert list((moved.data_dir / "models" / "views").iterdir()) == []
    assert list((moved.data_dir / "models" / "blobs").iterdir()) == []


def test_a_model_whose_view_is_lost_is_not_had_and_gets_it_anew(store: Store, tmp_path: Path) -> None:
    model = manifest(*(put(store, write_gguf(tmp_path / f"part{number}", seed=number)) for number in range(2)))
    store.save(model)
    shutil.rmtree(store.data_dir / "models" / "views")
    assert not store.has("m")
    store.save(model)
    assert store.has("m")


def test_a_file_outside_is_used_where_it_is_and_stays_there(store: Store, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "mine.gguf")
    model = manifest(lying(path))
    store.save(model)
    assert store.serving(model, "weights") == path
    assert store.get("m").in_place
    store.verify("m")
    store.remove("m")
    assert path.exists()


def test_a_file_outside_that_changes_or_goes_is_named(store: Store, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "mine.gguf")
    model = manifest(lying(path))
    store.save(model)
    os.utime(path, ns=(1, 1))
    with pytest.raises(StoreError, match=r"mine\.gguf of the model m has changed"):
        store.check(model)
    assert not store.has("m")
    path.unlink()
    with pytest.raises(StoreError, match=r"mine\.gguf of the model m is gone"):
        store.check(model)


def test_a_deployment_has_the_first_part_the_projector_and_the_draft(store: Store, tmp_path: Path) -> None:
    parts = [put(store, write_gguf(tmp_path / f"part{number}", seed=number)) for number in range(2)]
    projector = put(store, write_gguf(tmp_path / "mmproj", arch="clip"), "projector")
    draft = put(store, write_gguf(tmp_path / "draft", seed=9), "draft")
    model = manifest(*parts, projector, draft)
    store.save(model)
    settings = Settings(data_dir=store.data_dir)
    entry = Catalog(store, settings, Planner(settings, Home.of(probe(), settings))).resolve("m")
    assert entry.deployment.weights == store.serving(model, "weights")
    assert entry.deployment.projector == store.path(projector)
    assert entry.deployment.draft == store.path(draft)
    assert "vision" in entry.target.capabilities
