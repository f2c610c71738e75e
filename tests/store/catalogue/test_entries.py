"""The entries that Freehold ships are complete, consistent, and say what nobody has checked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from freehold.errors import StoreError
from freehold.store import catalogue
from freehold.store.catalogue import read, write
from freehold.store.catalogue.entry import BITS_PER_WEIGHT, TASKS, Entry
from freehold.store.catalogue.licenses import LICENSES
from freehold.store.names import check_name

ENTRIES = catalogue.all()
LEAST = {
    "chat": 60,
    "tools": 40,
    "reasoning": 25,
    "code": 20,
    "fim": 12,
    "vision": 25,
    "embedding": 12,
    "rerank": 3,
    "speech-to-text": 6,
    "text-to-speech": 5,
    "image": 5,
}


def test_there_are_models_for_every_task() -> None:
    counted = Counter(task for entry in ENTRIES for task in entry.tasks)
    assert len(ENTRIES) >= 150
    assert set(LEAST) == set(TASKS)
    assert {task: counted[task] for task, least in LEAST.items() if counted[task] < least} == {}


def test_chat_models_come_in_all_sizes_from_below_half_a_billion_to_above_seventy() -> None:
    sizes = sorted(entry.parameters for entry in ENTRIES if "chat" in entry.tasks)
    for low, high in ((0, 0.5e9), (0.5e9, 1e9), (1e9, 3e9), (3e9, 5e9), (5e9, 10e9), (10e9, 20e9), (20e9, 35e9), (65e9, 80e9)):
        assert [size for size in sizes if low <= size < high], (low, high)
    assert sizes[-1] > 300e9
    assert len([entry for entry in ENTRIES if entry.active]) >= 20


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_is_complete(entry: Entry) -> None:
    check_name(entry.name)
    assert entry.name == entry.name.lower() or entry.name.startswith("piper:")
    assert entry.license in LICENSES
    assert entry.url.startswith("https://huggingface.co/")
    assert 20 <= len(entry.good_for) <= 120
    assert entry.good_for[0].isupper()
    assert entry.good_for[-1] == "."
    assert entry.parameters > 10e6
    assert entry.active is None or 0 < entry.active < entry.parameters
    assert entry.title != entry.name
    assert all(variant.quantization in BITS_PER_WEIGHT for variant in entry.variants)
    if entry.engine == "llama.cpp" and entry.name not in {"glm-ocr", "minicpm5:1b"}:
        assert entry.context >= 512
        assert entry.size()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_its_files_have_an_address_and_say_whether_they_are_pinned(entry: Entry) -> None:
    for variant in entry.variants:
        references = [file.reference for file in variant.files]
        assert len(set(references)) == len(references)
        parts = [int(found[1]) for file in variant.files if (found := re.search(r"-(\d{5})-of-\d{5}\.gguf$", file.name))]
        assert parts == list(range(1, len(parts) + 1)), "the parts of a model are in order and none is missing"
        assert ("vision" in entry.tasks) == bool(variant.of_role("projector"))
        assert not variant.verified or variant.pinned
        for file in variant.files:
            assert file.reference.startswith(("hf:", "https://github.com/", "pypi:"))
            if entry.engine == "llama.cpp" and not file.reference.startswith("pypi:"):
                assert file.name.endswith(".gguf")


def test_the_same_file_has_the_same_digest_everywhere() -> None:
    seen: dict[str, str | None] = {}
    for entry in ENTRIES:
        for variant in entry.variants:
            for file in variant.files:
                assert seen.setdefault(file.reference, file.sha256) == file.sha256, file.reference
    assert sum(digest is not None for digest in seen.values()) > 150


def test_names_and_aliases_are_unique_and_each_family_has_one_default() -> None:
    names = [name.lower() for entry in ENTRIES for name in (entry.name, *entry.aliases)]
    assert not [name for name, count in Counter(names).items() if count > 1]
    defaults = Counter(entry.family for entry in ENTRIES if entry.default)
    assert not [family for family, count in defaults.items() if count > 1]
    assert {entry.family for entry in ENTRIES} == set(defaults)


def test_models_that_no_engine_here_runs_are_marked() -> None:
    for entry in ENTRIES:
        told = all(file.members or file.role != "archive" for file in entry.variant.files)
        assert entry.served is not ("text-to-speech" in entry.tasks and not told), entry.name


def test_quality_orders_only_what_the_model_does() -> None:
    for entry in ENTRIES:
        assert set(entry.quality) <= set(entry.tasks), entry.name


def test_sizes_that_are_estimated_are_near_those_that_are_known() -> None:
    """Published sizes of the same models' files, in bytes."""
    known = {
        "llama3.1:8b": 4_920_734_272,
        "phi4:14b": 9_053_114_816,
        "olmo2:7b": 4_472_020_256,
        "smollm2:135m": 98_362_432,
        "bge-reranker-v2-m3:568m": 635_676_416,
        "phi4-mini:3.8b": 2_491_874_272,
    }
    for name, size in known.items():
        entry = catalogue.find(name)
        assert entry
        found = entry.size()
        assert found
        assert abs(found.bytes / size - 1) < 0.1, (name, found)


def test_the_data_files_are_written_as_the_checker_writes_them() -> None:
    folder = files("freehold.store.catalogue") / "data"
    for part in read.PARTS:
        text = (folder / f"{part}.json").read_text(encoding="utf-8")
        data = json.loads(text)
        assert write.dumps(data["entries"], data.get("quality_basis", "")) == text
        assert bool(data.get("quality_basis")) is any(entry.get("quality") for entry in data["entries"])


def test_the_catalogue_is_read_on_first_use_and_quickly() -> None:
    program = (
        "import time\nfrom freehold.store import catalogue\nfrom freehold.store.catalogue import catalogue as inner\n"
        "assert inner._built_in.cache_info().currsize == 0\nstart = time.process_time()\ncatalogue.all()\n"
        "print(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3  # 0.012 s; the bound is for machines that do much else


GOOD = """
[[entries]]
name = "ours:1b"
license = "Proprietary"
parameters = 1_000_000_000
tasks = ["chat"]

[[entries.variants]]
quantization = "Q8_0"
files = [{ role = "weights", reference = "hf:our/model-GGUF/model-Q8_0.gguf", sha256 = "%s" }]
""" % ("ab" * 32)


def write_own(folder: Path, text: str) -> Path:
    (folder / "catalogue.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_users_own_entry_is_found_before_a_built_in_one(tmp_path: Path) -> None:
    folder = write_own(tmp_path, GOOD + GOOD.replace("ours:1b", "qwen3:4b"))
    own = catalogue.find("OURS:1B", folder)
    assert own
    assert (own.origin, own.variant.files[0].sha256, own.verified) == ("user", "ab" * 32, False)
    replaced = catalogue.find("qwen3:4b", folder)
    assert replaced
    assert replaced.license == "Proprietary"
    assert catalogue.find("qwen3:8b", folder)
    assert len(catalogue.all(folder)) == len(ENTRIES) + 1
    assert catalogue.find("ours:1b") is None


@pytest.mark.parametrize(
    ("good", "bad", "word"),
    [
        ('license = "Proprietary"', "", "license"),
        ("parameters = 1_000_000_000", "parameters = -1", "parameters"),
        ("parameters = 1_000_000_000", "parameters = true", "parameters"),
        ('tasks = ["chat"]', 'tasks = ["chess"]', "chess"),
        ('tasks = ["chat"]', "tasks = []", "tasks"),
        ('name = "ours:1b"', 'name = "../etc"', "not a model's name"),
        ('"hf:our/model-GGUF/model-Q8_0.gguf"', '"hf:our/../../etc/passwd"', "address"),
        ('"hf:our/model-GGUF/model-Q8_0.gguf"', '"http://example.com/x.gguf"', "address"),
        ('"hf:our/model-GGUF/model-Q8_0.gguf"', '"hf:our/model"', "address"),
        ("ab" * 32, "ab" * 31, "sha256"),
        ('"weights"', '"soul"', "soul"),
        ('"Q8_0"', '"Q8/0"', "quantization"),
        ("[[entries.variants]]", "[[entries.variant]]", "variant"),
        ("[[entries]]", "[[entry]]", "catalogue"),
        ("[[entries]]", "[[entries", "cannot be read"),
    ],
)
def test_a_users_entry_that_is_wrong_is_refused_with_its_name_and_field(tmp_path: Path, good: str, bad: str, word: str) -> None:
    assert good in GOOD
    with pytest.raises(StoreError) as caught:
        catalogue.all(write_own(tmp_path, GOOD.replace(good, bad)))
    assert word in str(caught.value)
    assert "catalogue.toml" in str(caught.value)


def test_two_entries_of_one_name_and_a_file_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="two entries"):
        catalogue.all(write_own(tmp_path, GOOD + GOOD))
    (tmp_path / "catalogue.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match="cannot be read"):
        catalogue.all(tmp_path)
    (tmp_path / "catalogue.toml").write_bytes(b"#" * (read.LARGEST_USER_FILE + 1))
    with pytest.raises(StoreError, match="larger"):
        catalogue.all(tmp_path)
