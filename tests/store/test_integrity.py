"""A file that changed after it was installed is noticed before an engine reads it."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from freehold.errors import DigestMismatch, StoreError
from freehold.store import integrity, seals
from freehold.store.integrity import Pin
from freehold.store.manifest import File, Manifest
from freehold.store.store import Store

DATA = bytes(range(256)) * 4096
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


def manifest(*files: File) -> Manifest:
    return Manifest(name="m", task="chat", engine="llama.cpp", files=files, source="test", license=None, created=0)


@pytest.fixture
def installed(tmp_path: Path) -> tuple[Store, tuple[Pin, ...]]:
    store = Store(tmp_path)
    staged = tmp_path / "staged"
    staged.write_bytes(DATA)
    found = store.install(manifest(File("weights", "m.gguf", DIGEST, len(DATA))), {DIGEST: staged})
    return store, integrity.pins(store, found)


def reads(pins: tuple[Pin, ...]) -> int:
    counts: list[int] = []
    integrity.check(pins, counts.append)
    return sum(counts)


def flip(path: Path, position: int) -> None:
    """Changes one bit, and hides it as well as a program can."""
    found = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))
    path.chmod(0o444)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_what_was_just_installed_is_not_read_again(installed: tuple[Store, tuple[Pin, ...]]) -> None:
    assert reads(installed[1]) == 0


def test_one_flipped_bit_anywhere_is_found_though_size_and_time_are_the_same(installed: tuple[Store, tuple[Pin, ...]]) -> None:
    _, (pin,) = installed
    chance = random.Random(31)
    for _ in range(40):
        position = chance.randrange(len(DATA))
        flip(pin.path, position)
        with pytest.raises(DigestMismatch, match="freehold rm m"):
            integrity.check((pin,))
        flip(pin.path, position)
        assert reads((pin,)) == len(DATA)
        assert reads((pin,)) == 0


def test_a_file_without_a_readable_seal_is_read_once(installed: tuple[Store, tuple[Pin, ...]]) -> None:
    _, (pin,) = installed
    pin.record.write_text("{nonsense")
    assert reads((pin,)) == len(DATA)
    pin.record.unlink()
    assert reads((pin,)) == len(DATA)
    assert reads((pin,)) == 0


def test_a_seal_is_not_believed_for_another_file_in_its_place(installed: tuple[Store, tuple[Pin, ...]]) -> None:
    _, (pin,) = installed
    pin.path.unlink()
    pin.path.write_bytes(DATA[:-1] + b"\0")
    with pytest.raises(DigestMismatch):
        integrity.check((pin,))


def test_a_scrub_reads_what_no_seal_can_tell(installed: tuple[Store, tuple[Pin, ...]]) -> None:
    _, (pin,) = installed
    flip(pin.path, 7)
    seals.write(pin.record, seals.seal_of(pin.path))  # as it looks when the disk itself has lost the byte
    integrity.check((pin,))
    with pytest.raises(DigestMismatch):
        integrity.scrub((pin,))
    with pytest.raises(DigestMismatch):  # and from then on it is known
        integrity.check((pin,))


def test_missing_files_and_seals_that_cannot_be_kept(installed: tuple[Store, tuple[Pin, ...]]) -> None:
    store, (pin,) = installed
    pin.record.unlink()
    pin.record.parent.rmdir()
    pin.record.parent.write_text("in the way")
    assert reads((pin,)) == len(DATA)
    pin.path.unlink()
    with pytest.raises(StoreError, match="gone"):
        integrity.check((pin,))
    assert store.get("m")


def test_a_file_used_where_it_lies_must_not_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.gguf"
    path.write_bytes(DATA)
    file = File("weights", "elsewhere.gguf", None, len(DATA), path=str(path), modified=path.stat().st_mtime_ns)
    pins = integrity.pins(Store(tmp_path / "data"), manifest(file))
    assert reads(pins) == 0
    path.write_bytes(DATA[::-1])
    with pytest.raises(StoreError, match="has changed"):
        integrity.check(pins)


def test_seals_go_with_their_blobs(installed: tuple[Store, tuple[Pin, ...]]) -> None:
    store, (pin,) = installed
    assert pin.record.exists()
    store.remove("m")
    assert not pin.record.exists()
