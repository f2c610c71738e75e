"""Blobs and manifests: whole or not there, whatever happens between."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import DigestMismatch, DiskFull, InvalidRequest, NotInstalled, StoreError
from freehold.store import disk
from freehold.store.manifest import Manifest, dumps, loads
from freehold.store.names import check_name, file_name, is_path, name_for
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.store.parts import write_gguf


def quiet(progress: object) -> None:
    pass


@pytest.fixture
def installed(store: Store, tmp_path: Path) -> Manifest:
    return pull(store, str(write_gguf(tmp_path / "first.gguf")), name="first", on_progress=quiet)


@pytest.mark.parametrize("name", ["smollm2:135m", "Qwen/Qwen3-0.6B", "a", "A.b_c-d", "x/y:z", "a" * 200])
def test_names_that_are_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../x",
        "/etc/passwd",
        "a/../b",
        "a//b",
        "a:",
        "/a",
        "a/",
        ".hidden",
        "-rf",
        "a b",
        "a\nb",
        "a\0",
        "ä",
        "a" * 201,
        "%2e",
        "C:\\x",
    ],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_name(name)
    assert caught.value.param == "model"


@given(st.text(max_size=220), st.text(max_size=220))
def test_no_two_names_share_a_file_and_no_file_leaves_its_folder(one: str, other: str) -> None:
    files = []
    for name in (one, other):
        try:
            files.append(file_name(check_name(name)))
        except InvalidRequest:
            return
    assert all(file == Path(file).name and len(file) < 240 and file[0] not in ".-" for file in files)
    assert (files[0].lower() == files[1].lower()) == (one == other)


@given(st.text(max_size=300))
def test_a_name_made_from_a_file_is_always_a_name(file: str) -> None:
    check_name(name_for(file))


def test_case_is_kept_apart_where_the_file_system_does_not() -> None:
    assert file_name("Qwen").lower() != file_name("qwen").lower()


@pytest.mark.parametrize("reference", ["./x.gguf", "/x", "x.gguf", "X.GGUF", "~/x.gguf", "file:x", "../x"])
def test_paths_are_told_from_names(reference: str) -> None:
    assert is_path(reference)


@pytest.mark.parametrize("reference", ["smollm2:135m", "https://example.com/x.gguf", "http://127.0.0.1/x.gguf"])
def test_names_are_told_from_paths(reference: str) -> None:
    assert not is_path(reference)


def test_a_manifest_survives_the_disk(installed: Manifest, store: Store) -> None:
    assert loads(dumps(installed), "first") == installed == store.get("first")
    assert store.list() == [installed]
    assert store.has("first")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "{",
        lambda text: "[]",
        lambda text: text.replace('"schema": 2', '"schema": 3'),
        lambda text: text.replace('"task": "chat"', '"task": "dance"'),
        lambda text: text.replace("sha256:", "sha256:../"),
        lambda text: text.replace('"engine"', '"motor"'),
        lambda text: "[" * 100_000,
    ],
)
def test_a_damaged_manifest_is_named_and_disturbs_no_other(installed: Manifest, store: Store, damage, tmp_path: Path) -> None:
    other = pull(store, str(write_gguf(tmp_path / "other.gguf", seed=1)), on_progress=quiet)
    path = store.data_dir / "models" / "manifests" / "first.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(StoreError, match="freehold rm first"):
        store.get("first")
    assert store.list() == [other]
    assert len(store.problems()) == 1
    assert not store.has("first")
    store.remove("first")
    assert store.problems() == ()
    assert store.has("other")


def test_a_pipe_or_device_in_place_of_a_manifest_is_not_waited_for(store: Store) -> None:
    folder = store.data_dir / "models" / "manifests"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.json")
    (folder / "zero.json").symlink_to("/dev/zero")
    assert store.list() == []
    for name, problem in zip(("pipe", "zero"), store.problems(), strict=True):
        assert f"{name} is not in a regular file" in str(problem)
        store.remove(name)
    assert store.problems() == ()


def test_a_manifest_under_another_name_is_a_problem(installed: Manifest, store: Store) -> None:
    path = store.data_dir / "models" / "manifests" / "first.json"
    path.rename(path.with_name("second.json"))
    assert store.list() == []
    assert "names another model" in str(store.problems()[0])


def test_a_shared_blob_stays_until_its_last_model_goes(installed: Manifest, store: Store, tmp_path: Path) -> None:
    second = pull(store, str(tmp_path / "first.gguf"), name="second", on_progress=quiet)
    blob = store.path(second.files[0])
    assert blob == store.path(installed.files[0])
    store.remove("first")
    assert blob.exists()
    store.remove("second")
    assert not blob.exists()
    assert store.disk_usage().models == 0


def test_removing_what_is_not_there_says_so(store: Store) -> None:
    with pytest.raises(NotInstalled, match="freehold list"):
        store.remove("nothing")


def test_verify_finds_a_changed_byte(installed: Manifest, store: Store) -> None:
    store.verify("first")
    blob = store.path(installed.files[0])
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(DigestMismatch, match="freehold rm first"):
        store.verify("first")


def test_a_truncated_blob_is_not_had(installed: Manifest, store: Store) -> None:
    blob = store.path(installed.files[0])
    blob.chmod(0o644)
    os.truncate(blob, 100)
    assert not store.has("first")


def test_a_manifest_never_names_what_is_not_there(installed: Manifest, store: Store) -> None:
    file = dataclasses.replace(installed.files[0], digest="sha256:" + "0" * 64)
    with pytest.raises(StoreError, match="not in the store"):
        store.save(dataclasses.replace(installed, name="other", files=(file,)))
    assert [manifest.name for manifest in store.list()] == ["first"]


def test_the_stamp_changes_when_a_model_is_installed_anew(installed: Manifest, store: Store, tmp_path: Path) -> None:
    before = store.stamp("first")
    pull(store, str(write_gguf(tmp_path / "b.gguf", seed=2)), name="first", on_progress=quiet)
    assert store.stamp("first") not in (before, None)
    assert store.stamp("nothing") is None


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(store: Store) -> None:
    with pytest.raises(DiskFull, match=r"needs 5\.0 GB of disk, and 1 MB are free"):
        disk.require(10**6, 5 * 10**9)


def test_a_full_disk_is_told_as_one() -> None:
    with pytest.raises(DiskFull), disk.translated():
        Path("/dev/full").write_text("x" * 10)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StoreError, match="cannot be used"):
        pull(Store(blocked / "data"), str(write_gguf(tmp_path / "x.gguf")), on_progress=quiet)


def _install(data: Path, source: Path, name: str) -> None:
    pull(Store(data), str(source), name=name, on_progress=quiet)


def test_processes_that_install_at_the_same_time_do_not_lose_each_others_models(store: Store, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "x.gguf")
    names = [f"m{number}" for number in range(8)] * 2  # each twice
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_install, args=(store.data_dir, source, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert [manifest.name for manifest in store.list()] == sorted(set(names))
    assert len(list((store.data_dir / "models" / "blobs").iterdir())) == 1
    assert list(store.staging.iterdir()) == []
