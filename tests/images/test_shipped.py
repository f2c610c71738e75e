"""The drawing model that comes along: installed without a network, and what it really draws."""

from __future__ import annotations

import colorsys
import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from freehold.errors import DigestMismatch, StoreError
from freehold.store.pull import pull
from freehold.store.sources import shipped
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving, until
from tests.images.parts import data_of, image_of
from tests.images.serving import ENV


@pytest.fixture(scope="module")
def store(starters: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_at(tmp_path_factory.mktemp("shipped"), starters)


def store_at(folder: Path, starters: Path) -> Store:
    """With the text model that the drawing model needs, as a fresh machine has it after its first start."""
    there, here = Store(starters), Store(folder)
    manifest = there.get(shipped.TEXT_MODEL)
    copies = {str(file.digest): Path(shutil.copy(there.path(file), here.data_dir / file.name)) for file in manifest.files}
    here.install(manifest, copies)
    return here


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Server]:
    pull(store, "pictogram", on_progress=lambda progress: None)
    fake_model(store.data_dir)
    with serving(store.data_dir, env=ENV, ready=False) as running:
        yield running


def test_its_file_is_the_pinned_one_and_small() -> None:
    data = (files("freehold.store") / "shipped" / "pictogram.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == shipped._SHA256
    assert len(data) <= 16 * 2**20


def test_the_wheel_has_its_file_and_the_licence_of_what_it_learnt_from(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=Path(__file__).parents[2], check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert hashlib.sha256(archive.read("freehold/store/shipped/pictogram.safetensors")).hexdigest() == shipped._SHA256
        assert b"SIL OPEN FONT LICENSE" in archive.read("freehold/store/shipped/pictogram.LICENSE")


def test_it_is_installed_from_what_is_here_and_shares_its_text_model(store: Store) -> None:
    manifest = pull(store, "pictogram", on_progress=lambda progress: None)
    encoder, weights = manifest.file("encoder"), manifest.file("weights")
    theirs = store.get(shipped.TEXT_MODEL).file("weights")
    assert encoder is not None and weights is not None and theirs is not None
    assert encoder.digest == theirs.digest
    assert (manifest.task, manifest.engine, manifest.license) == ("image", "pictogram", "OFL-1.1")
    assert pull(store, "pictogram", on_progress=lambda progress: None) == manifest
    store.install(replace(manifest, options={"size": 128}), {})
    assert pull(store, "pictogram", on_progress=lambda progress: None).options == manifest.options
    with pytest.raises(StoreError, match="pinned"):
        pull(store, "pictogram", sha256="0" * 64, on_progress=lambda progress: None)


def test_a_start_replaces_what_came_with_another_version(starters: Path, tmp_path: Path) -> None:
    store = store_at(tmp_path, starters)
    manifest = pull(store, "pictogram", on_progress=lambda progress: None)
    store.install(replace(manifest, options={"size": 128}), {})
    fake_model(tmp_path)
    starting = ENV | dict.fromkeys(("FREEHOLD_DEFAULT_EMBEDDING", "FREEHOLD_DEFAULT_TRANSCRIPTION"), "fake")
    with serving(tmp_path, env=starting | {"FREEHOLD_STARTER": "true"}, ready=False):
        until(lambda: store.get("pictogram").options == manifest.options)


def test_no_context_is_told_of_a_model_that_has_none(server: Server) -> None:
    status, _, card = server.get("/v1/models/pictogram")
    assert status == 200
    assert card["context_length"] == 0


def test_it_draws_one_picture_at_a_time_and_who_comes_meanwhile_is_seen_to_wait(server: Server) -> None:
    assert server.post("/v1/images/generations", {"model": "pictogram", "prompt": "a lion"})[0] == 200
    (worker,) = (each for each in server.get("/api/ps")[2]["workers"] if each["model"] == "pictogram")
    assert worker["slots"] == 1


@pytest.mark.parametrize(("name", "value"), [("_SHA256", "0" * 64), ("_WEIGHTS", "lost.safetensors")])
def test_weights_that_are_damaged_or_missing_are_not_installed(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr(shipped, name, value)
    with (
        pytest.raises(DigestMismatch, match="Install Freehold anew"),
        shipped.FromFreehold().stage(store, lambda progress: None),
    ):
        pass


@pytest.mark.parametrize(("colour", "hue"), [("red", 0.0), ("green", 0.33), ("blue", 0.6)])
def test_a_dress_has_the_colour_that_was_asked_for(server: Server, colour: str, hue: float) -> None:
    status, _, answer = server.post(
        "/v1/images/generations", {"model": "gpt-image-1", "prompt": f"a {colour} dress", "background": "transparent"}
    )
    assert status == 200, answer
    assert answer["native_size"] == "128x128"
    pixels = np.asarray(image_of(answer), np.float32) / 255
    drawn = pixels[pixels[..., 3] > 0.5][:, :3]
    assert 0.15 < len(drawn) / 128**2 < 0.8  # a thing on a ground that can be seen through
    vivid = drawn[np.ptp(drawn, axis=1) > 0.3]
    hues = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in vivid.tolist()])
    near = np.abs((hues - hue + 0.5) % 1 - 0.5) < 0.12
    assert near.mean() > 0.5


def test_a_seed_is_a_picture_of_its_own_and_comes_again(server: Server) -> None:
    asked = {"model": "pictogram", "prompt": "fruit", "n": 4, "seed": 1}
    status, headers, answer = server.post("/v1/images/generations", asked)
    assert status == 200, answer
    assert "x-freehold-ignored" not in headers
    drawn = [data_of(answer, index) for index in range(4)]
    assert len(set(drawn)) == 4
    again = server.post("/v1/images/generations", asked | {"n": 1, "seed": 3})[2]
    assert data_of(again) == drawn[2]


def test_different_words_draw_different_things(server: Server) -> None:
    prompts = ("lion", "house", "guitar", "two red apples", "cat and moon", "freedom", "¿?")
    drawn = [server.post("/v1/images/generations", {"model": "pictogram", "prompt": each})[2] for each in prompts]
    assert len({data_of(answer) for answer in drawn}) == len(prompts)
