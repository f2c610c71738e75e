"""Model files are data from strangers: whatever is in them, the reader gives a header or a reason, quickly."""

from __future__ import annotations

import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.errors import BadModelFile
from freehold.hardware.facts import facts_of
from freehold.hardware.gguf import read_header
from freehold.store.install import task_of
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.store.parts import write_gguf


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "good.gguf").read_bytes()


def check(path: Path, data: bytes) -> str | None:
    """Why the reader refuses the data; None when it takes it, and then everything lies within the file."""
    path.write_bytes(data)
    try:
        header = read_header(path)
    except BadModelFile as error:
        assert str(path) not in error.message
        return error.message
    for tensor in header.tensors:
        assert header.data_offset + tensor.offset + tensor.nbytes <= len(data)
    return None


def test_a_good_file_says_what_it_is(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(good)
    facts = facts_of(read_header(path), len(good))
    assert (facts.architecture, facts.context_length, facts.block_count, facts.vocab_size) == ("llama", 256, 1, 40)
    assert facts.parameters == 40 * 32 + 32
    assert facts.quantization == "F32"
    assert facts.chat_template == "{{ messages }}"


def test_truncated_anywhere_it_is_refused(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for length in range(0, len(good), max(1, len(good) // 400)):
        assert check(path, good[:length]), f"cut to {length} bytes"


def test_bytes_changed_at_random_never_lead_outside_the_file(good: bytes, tmp_path: Path) -> None:
    path, chance = tmp_path / "x.gguf", random.Random(1)
    header = len(good) - 40 * 32 * 4 - 32 * 4
    refused = 0
    began = time.monotonic()
    for _ in range(800):
        data = bytearray(good)
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(header)] = chance.randrange(256)
        refused += check(path, bytes(data)) is not None
    assert 100 < refused < 800  # most changes are within names and texts, which may be anything
    assert time.monotonic() - began < 60


def _at(offset: int, form: str, value: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + struct.pack(form, value) + data[offset + struct.calcsize(form) :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "letters GGUF"),
        (lambda data: b"PK\x03\x04" + data[4:], "letters GGUF"),
        (_at(4, "<I", 1), "version is 1"),
        (_at(4, "<I", 99), "version is 99"),
        (_at(4, ">I", 3), "big-endian"),
        (_at(8, "<Q", 2**63), "tensors"),
        (_at(8, "<Q", 2**32), "tensors"),
        (_at(16, "<Q", 2**63), "metadata"),
        (_at(24, "<Q", 2**62), ""),  # the length of the first key
    ],
)
def test_hostile_counts_are_named(good: bytes, tmp_path: Path, damage: Callable[[bytes], bytes], reason: str) -> None:
    message = check(tmp_path / "x.gguf", damage(good))
    assert message is not None
    assert reason in message


def _header(metadata: bytes, keys: int, tensors: bytes = b"", count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, count, keys) + metadata + tensors


def _key(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


def _tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    text = struct.pack("<Q", len(name)) + name.encode()
    return text + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    "data",
    [
        _header(_key("a", 99, b""), 1),  # no such type
        _header(_key("a", 8, struct.pack("<Q", 2**60)), 1),  # a string longer than any file
        _header(_key("a", 9, struct.pack("<IQ", 8, 2**60)), 1),  # an array of that many strings
        _header(_key("a", 9, struct.pack("<IQ", 4, 2**61)), 1),  # whose bytes overflow 64 bits
        _header(_key("a", 9, struct.pack("<IQ", 9, 1) * 50), 1),  # arrays in arrays
        _header(_key("a", 4, b"\0\0\0\0") * 2, 2),  # a key twice
        _header(_key("general.alignment", 4, struct.pack("<I", 0)), 1),
        _header(_key("general.alignment", 4, struct.pack("<I", 3)), 1),
        _header(_key("general.alignment", 4, struct.pack("<I", 2**31)), 1),
        _header(b"", 0, _tensor("t", (2**40, 2**40), 0, 0), 1),  # more elements than 64 bits count
        _header(b"", 0, _tensor("t", (2**63,), 0, 0), 1),
        _header(b"", 0, _tensor("t", (32,), 0, 2**63), 1),  # beyond the end
        _header(b"", 0, _tensor("t", (32,), 0, 7), 1) + bytes(4096),  # not aligned
        _header(b"", 0, _tensor("t", (33,), 2, 0), 1) + bytes(4096),  # no whole number of quantised blocks
        _header(b"", 0, _tensor("t", (32,), 77, 0), 1) + bytes(4096),  # no such tensor type
        _header(b"", 0, _tensor("t", (), 0, 0), 1) + bytes(4096),
        _header(b"", 0, _tensor("t", (1,) * 9, 0, 0), 1) + bytes(4096),
        _header(b"", 0, _tensor("n" * 200, (32,), 0, 0), 1) + bytes(4096),
        _header(b"", 0, _tensor("t", (32,), 0, 0) * 2, 2) + bytes(4096),  # a name twice, and one place for both
    ],
    ids=range(19),
)
def test_what_native_code_might_trip_over_is_refused(data: bytes, tmp_path: Path) -> None:
    assert check(tmp_path / "x.gguf", data)


def test_a_header_that_claims_much_costs_little(tmp_path: Path) -> None:
    """A sparse file of 64 GiB whose one string claims all of it."""
    path = tmp_path / "x.gguf"
    with path.open("wb") as file:
        file.write(_header(_key("a", 8, struct.pack("<Q", 2**35)), 1))
        file.truncate(2**36)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    assert len(read_header(path).metadata["a"]) == 2**35  # its length alone is kept
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


@pytest.mark.parametrize("missing", ["context_length", "embedding_length", "block_count", "architecture"])
def test_a_file_that_is_no_model_is_refused(good: bytes, tmp_path: Path, missing: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(good.replace(missing.encode(), missing[::-1].encode()))
    with pytest.raises(BadModelFile):
        facts_of(read_header(path), len(good))


def test_a_bad_file_is_refused_before_it_is_copied(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(BadModelFile):
        pull(store, str(path), on_progress=lambda progress: None)
    assert store.list() == []
    assert not store.staging.exists() or list(store.staging.iterdir()) == []


def test_a_part_of_a_model_is_refused_with_the_way_out(tmp_path: Path, store: Store) -> None:
    path = write_gguf(tmp_path / "m-00001-of-00003.gguf", split__count=3)
    with pytest.raises(BadModelFile, match=r"m-00002-of-00003\.gguf.* is missing"):
        pull(store, str(path), on_progress=lambda progress: None)
    with pytest.raises(BadModelFile, match=r"part 0 .* of 3"):
        pull(store, str(path.rename(tmp_path / "alone.gguf")), on_progress=lambda progress: None)


@pytest.mark.parametrize(
    ("arch", "extra", "task"),
    [("llama", {}, "chat"), ("qwen3", {"qwen3__pooling_type": 3}, "embedding"), ("nomic-bert", {}, "embedding")],
)
def test_what_a_model_is_for_is_read_from_it(tmp_path: Path, arch: str, extra: dict[str, int], task: str) -> None:
    path = write_gguf(tmp_path / "x.gguf", arch, **extra)
    assert task_of(facts_of(read_header(path), path.stat().st_size)) == task


def test_a_reranker_without_the_head_that_scores_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf", "bert", bert__pooling_type=4)
    with pytest.raises(BadModelFile, match="no head"):
        task_of(facts_of(read_header(path), path.stat().st_size))


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, store: Store, kind: str) -> None:
    import os

    path = tmp_path / "x.gguf"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    from freehold.errors import StoreError

    with pytest.raises(StoreError, match=r"x.gguf"):
        pull(store, str(path), on_progress=lambda progress: None)
