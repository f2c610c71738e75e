"""What maintainers learn when they compare the catalogue with its hubs, against a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.store.catalogue import read, write
from freehold.store.catalogue.check import Report, applied, check, hugging_face
from tests.store.catalogue.hub import Hub, serving

ROOT = Path(__file__).parent.parent.parent.parent
GOOD, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as found:
        found.add("makers/model", {"config.json": (10, None)}, license="apache-2.0")
        found.add(
            "org/model-GGUF", {"model-Q4_K_M.gguf": (1000, GOOD), "model-Q8_0.gguf": (2000, OTHER), "README.md": (5, None)}
        )
        yield found


def table(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "model:1b",
        "license": "Apache-2.0",
        "parameters": 10**9,
        "tasks": ["chat"],
        "url": "https://huggingface.co/makers/model",
        "variants": [{"quantization": "Q4_K_M", "files": list(files)}],
    } | more


def file(name: str = "model-Q4_K_M.gguf", **more: Any) -> dict[str, Any]:
    return {"role": "weights", "reference": f"hf:org/model-GGUF/{name}"} | more


def compare(hub: Hub, *tables: dict[str, Any]) -> Report:
    return check([read.parse(item, "built-in") for item in tables], hugging_face(hub.url))


def kinds(report: Report) -> list[str]:
    return [item.kind for item in report.differences]


def test_an_entry_that_is_as_its_hub_says_has_no_differences(hub: Hub) -> None:
    report = compare(hub, table(file(sha256=GOOD, size=1000)))
    assert report.differences == ()
    assert report.confirmed == {("model:1b", "Q4_K_M")}
    assert sorted(hub.asked) == ["makers/model", "org/model-GGUF"]


def test_what_an_entry_lacks_is_told_and_can_be_filled_in(hub: Hub) -> None:
    raw = table(file())
    report = compare(hub, raw)
    assert kinds(report) == ["unpinned", "unsized"]
    (filled,) = applied([raw], report, "2026-11-25")
    (variant,) = filled["variants"]
    assert variant["verified"] is True
    assert "2026-11-25" in variant["note"]
    assert variant["files"] == [file(sha256=GOOD, size=1000)]
    assert compare(hub, filled).differences == ()


def test_a_digest_that_differs_is_told_and_never_overwritten(hub: Hub) -> None:
    raw = table(
        file(sha256=OTHER), variants=[{"quantization": "Q4_K_M", "verified": True, "note": "x", "files": [file(sha256=OTHER)]}]
    )
    report = compare(hub, raw)
    assert kinds(report) == ["digest"]
    assert (report.differences[0].known, report.differences[0].found) == (OTHER, GOOD)
    (after,) = applied([raw], report, "2026-11-25")
    assert after["variants"] == [{"quantization": "Q4_K_M", "files": [file(sha256=OTHER)]}]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (table(file("gone.gguf", sha256=GOOD, size=1)), ["file"]),
        (table({"role": "weights", "reference": "hf:no/where/x.gguf", "sha256": GOOD, "size": 1}), ["repository"]),
        (table(file(sha256=GOOD, size=999)), ["size"]),
        (table(file(sha256=GOOD, size=1000), license="MIT"), ["license"]),
        (table(file(sha256=GOOD, size=1000), url="https://huggingface.co/makers/gone"), ["repository"]),
        (table(file(sha256=GOOD, size=1000), {"role": "archive", "reference": "https://example.com/x.bin"}), ["unchecked"]),
    ],
)
def test_what_is_wrong_with_an_entry_is_told(hub: Hub, raw: dict[str, Any], expected: list[str]) -> None:
    report = compare(hub, raw)
    assert kinds(report) == expected
    assert bool(report.confirmed) is (expected in (["license"], ["repository"]) and "org" in str(raw["variants"]))


def test_a_hub_that_fails_for_one_repository_is_told_for_that_one(hub: Hub) -> None:
    hub.repositories["org/model-GGUF"] = 503
    report = compare(hub, table(file(sha256=GOOD, size=1000)))
    assert kinds(report) == ["unchecked"]
    assert "503" in report.differences[0].found


def run(folder: Path, *arguments: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    """`make catalogue-check`, on the data files of another folder."""
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "catalogue_check.py", "--data", folder, *arguments],
        env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_prints_differences_and_writes_what_was_lacking(hub: Hub, tmp_path: Path) -> None:
    other = table(file("model-Q8_0.gguf"), name="other:1b")
    page = tmp_path / "chat.json"
    page.write_text(write.dumps([table(file()), other]), encoding="utf-8")
    done = run(tmp_path, "--write", "model:1b", endpoint=hub.url)
    assert done.returncode == 0, done.stderr
    assert "unpinned" in done.stdout
    assert "1 variants as described, 0 differences to look at" in done.stdout
    first, second = json.loads(page.read_text("utf-8"))["entries"]
    assert first["variants"][0]["files"] == [file(sha256=GOOD, size=1000)]
    assert second == other, "entries that were not named stay as they are"
    assert write.dumps([first, second]) == page.read_text("utf-8")
    page.write_text(write.dumps([table(file(sha256=OTHER))]), encoding="utf-8")
    assert run(tmp_path, endpoint=hub.url).returncode == 1
    assert run(tmp_path, "nobody:1b", endpoint=hub.url).returncode == 2


def test_without_a_network_the_command_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text(write.dumps([table(file())]), encoding="utf-8")
    before = (tmp_path / "chat.json").read_text("utf-8")
    done = run(tmp_path, "--write", endpoint="http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "nothing was checked" in done.stderr
    assert (tmp_path / "chat.json").read_text("utf-8") == before
