"""A disk that is full, or that cannot be written: what needs no room goes on, and nobody has to repair anything afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import DiskFull, StoreError
from freehold.store.store import Store
from tests.cli.parts import run
from tests.conftest import fake_model, serving, until
from tests.store.parts import write_gguf

ENVIRONMENT = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def fill(self) -> None:
        with (self.folder / "ballast").open("wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        (self.folder / "ballast").unlink()

    def read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)


@pytest.fixture
def disk() -> Iterator[Disk]:
    folder = Path(tempfile.mkdtemp(prefix="fh-disk-", dir="/tmp"))  # short, for sockets lie below it
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"no mounts for this user: {done.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def test_a_full_disk_stops_nothing_that_needs_no_room(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, logs and sockets are on it."""
    data = disk.folder / "data"
    fake_model(data)
    fake_model(data, "other")
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    with serving(data, "--log-level", "info", env=ENVIRONMENT) as server:
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            (disk.folder / "more").write_bytes(b"x" * 4096)
        for stream in (True, False):
            for _ in range(20):
                assert server.chat("hello", stream=stream)[0] == 200
        told = run(tmp_path, "pull", write_gguf(tmp_path / "x.gguf"), "--name", "new", "--data-dir", data)
        assert told.code != 0
        assert "disk" in told.err
        assert "Traceback" not in told.err
        assert server.request("DELETE", "/v1/models/other")[0] == 200
        os.kill(server.worker("fake")["pid"], signal.SIGKILL)
        status, _, body = server.chat("hello")
        assert status in (200, 503), body
        disk.free()
        until(lambda: server.chat("hello")[0] == 200)
        before = len(server.log.read_text().splitlines())
        assert server.chat("hello")[0] == 200
        until(lambda: len(server.log.read_text().splitlines()) > before)
        pulled = run(tmp_path, "pull", tmp_path / "x.gguf", "--name", "new", "--data-dir", data)
        assert pulled.code == 0, pulled.err
        assert [path.name for path in (data / "models" / "manifests").iterdir() if path.name.startswith(".")] == []
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(disk: Disk) -> None:
    fake_model(disk.folder, slots=2)
    store = Store(disk.folder)
    before = store.get("fake")
    disk.fill()
    with pytest.raises(DiskFull):
        fake_model(disk.folder, slots=3, padding="x" * 20_000)
    assert store.get("fake") == before
    disk.free()
    fake_model(disk.folder, slots=3)
    assert store.get("fake").options == {"slots": 3}
    assert store.problems() == ()


@pytest.mark.parametrize("trouble", ["read-only", "full"])
def test_a_folder_that_cannot_be_written_is_served_with_a_warning(disk: Disk, tmp_path: Path, trouble: str) -> None:
    fake_model(disk.folder)
    if trouble == "full":
        disk.fill()
    else:
        disk.read_only()
    with serving(disk.folder, env=ENVIRONMENT) as server:
        assert server.chat("hello")[0] == 200
        assert [card["id"] for card in server.get("/v1/models")[2]["data"]] == ["fake"]
        log = server.log.read_text()
        assert log.count("warning: ") == 1
        assert "cannot be written" in log
        if trouble == "read-only":
            assert server.request("DELETE", "/v1/models/fake")[0] in (500, 503, 507)
            assert server.chat("hello")[0] == 200
        assert "Traceback" not in server.log.read_text()


def test_a_read_only_folder_without_models_is_refused_in_one_line(disk: Disk, tmp_path: Path) -> None:
    disk.read_only()
    told = run(tmp_path, "up", "--port", "0", "--data-dir", disk.folder)
    assert told.code == 1
    assert told.err.count("\n") <= 2
    assert "cannot be written" in told.err
    with pytest.raises(StoreError):
        fake_model(disk.folder)


def test_what_cannot_be_stored_is_not_acknowledged_and_what_was_is_still_told(disk: Disk) -> None:
    fake_model(disk.folder)
    with serving(disk.folder, env=ENVIRONMENT) as server:
        asked = {"model": "fake", "input": "one two"}
        first = server.post("/v1/responses", asked)[2]
        disk.fill()
        for stream in (False, True):
            status, _, told = server.post("/v1/responses", {**asked, "input": "x" * 20_000, "stream": stream})
            if stream:
                assert "response.failed" in told
                assert "response.completed" not in told
            else:
                assert (status, told["error"]["code"]) == (503, "state_unavailable")
                assert str(disk.folder) not in told["error"]["message"]
        assert server.post("/v1/responses", {**asked, "store": False})[0] == 200
        assert server.get(f"/v1/responses/{first['id']}")[0] == 200
        disk.free()
        again = server.post("/v1/responses", asked)[2]
        assert server.get(f"/v1/responses/{again['id']}")[0] == 200
