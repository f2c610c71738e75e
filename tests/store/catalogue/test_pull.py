"""`freehold pull NAME` for names of the catalogue: a user's own entries, whose files lie on a hub on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.store.store import Store
from tests.cli.parts import Result, assert_one_line, run
from tests.conftest import fake_model, serving
from tests.store.parts import Web, sha256, web_server
from tests.zoo.build import write
from tests.zoo.shapes import zoo

REPOSITORY = "tiny/llama-GGUF"
ENTRY = """
[[entries]]
name = "tiny:1m"
license = "Apache-2.0"
parameters = 1_000_000
context = 128
tasks = {tasks}
good_for = "Nothing but tests."
engine = "{engine}"

[[entries.variants]]
quantization = "F32"
files = [{{ role = "weights", reference = "hf:tiny/llama-GGUF/tiny-F32.gguf"{pin} }}]

[[entries.variants]]
quantization = "BF16"
files = [{{ role = "weights", reference = "hf:tiny/llama-GGUF/other/tiny-BF16.gguf" }}]
"""


@dataclass(frozen=True)
class Place:
    """A hub with one repository, and a data folder beside it."""

    folder: Path
    web: Web

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def file(self, path: str) -> Path:
        return self.web.root / REPOSITORY / "resolve" / "main" / path

    def describe(self, pin: str = "", engine: str = "llama.cpp", tasks: str = '["chat"]') -> None:
        text = ENTRY.format(pin=f', sha256 = "{pin}"' if pin else "", engine=engine, tasks=tasks)
        (self.data / "catalogue.toml").write_text(text)

    def run(self, *arguments: object) -> Result:
        env = {"HF_ENDPOINT": self.web.url, "FREEHOLD_URL": "", "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1"}
        return run(self.folder, *arguments, "--data-dir", self.data, env=env)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    shapes = {shape.name: shape for shape in zoo()}
    (tmp_path / "web").mkdir()
    (tmp_path / "data").mkdir()
    with web_server(tmp_path / "web") as web:
        found = Place(tmp_path, web)
        for path, shape in (("tiny-F32.gguf", "llama-gqa"), ("other/tiny-BF16.gguf", "llama-tied")):
            file = found.file(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(write(shapes[shape], tmp_path), file)
        found.file("").with_name("1" * 40).symlink_to("main")  # the hub names the commit, and files are fetched from that
        listing = web.root / "api" / "models" / REPOSITORY
        listing.parent.mkdir(parents=True)
        files = [found.file("tiny-F32.gguf"), found.file("other/tiny-BF16.gguf")]
        siblings = [
            {
                "rfilename": str(file.relative_to(found.file(""))),
                "size": file.stat().st_size,
                "blobId": "0" * 40,
                "lfs": {"sha256": sha256(file), "size": file.stat().st_size, "pointerSize": 130},
            }
            for file in files
        ]
        listing.write_text(json.dumps({"id": REPOSITORY, "sha": "1" * 40, "tags": [], "siblings": siblings}))
        yield found


def test_a_name_is_pulled_from_its_hub_by_its_pinned_digest_and_answers(place: Place) -> None:
    place.describe(pin=sha256(place.file("tiny-F32.gguf")))
    done = place.run("pull", "Tiny")
    assert done.code == 0, done
    assert "tiny:1m is installed" in done.out
    manifest = Store(place.data).get("tiny:1m")
    assert manifest.license == "Apache-2.0"
    assert manifest.source == "hf:tiny/llama-GGUF/tiny-F32.gguf"
    assert manifest.files[0].digest == f"sha256:{sha256(place.file('tiny-F32.gguf'))}"
    assert not place.web.asked(f"api/models/{REPOSITORY}"), "a pinned file needs no word of the hub"
    fake_model(place.data)
    settings = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_ENGINE_CONTEXT": "128"}
    with serving(place.data, env=settings, ready=False) as server:
        body = {"model": "tiny:1m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        status, _, answer = server.post("/v1/chat/completions", body)
    assert status == 200, answer
    assert answer["usage"]["completion_tokens"] >= 1


def test_a_quantisation_that_is_not_pinned_is_held_to_the_digest_that_the_hub_names(place: Place) -> None:
    place.describe()
    assert place.run("pull", "tiny:1m:bf16").code == 0
    manifest = Store(place.data).get("tiny:1m-bf16")
    assert manifest.files[0].digest == f"sha256:{sha256(place.file('other/tiny-BF16.gguf'))}"
    listed = place.run("list").out
    assert "tiny:1m-bf16" in listed
    place.file("other/tiny-BF16.gguf").write_bytes(place.file("tiny-F32.gguf").read_bytes())
    assert place.run("rm", "tiny:1m-bf16").code == 0
    assert place.run("pull", "tiny:1m:bf16").code == 1
    assert not Store(place.data).has("tiny:1m-bf16")


def test_a_file_that_has_another_digest_than_its_pin_is_not_installed(place: Place) -> None:
    place.describe(pin="ab" * 32)
    done = place.run("pull", "tiny:1m")
    assert_one_line(done, 1, "sha256")
    assert not Store(place.data).has("tiny:1m")


def test_a_model_that_nothing_here_serves_is_refused_before_a_byte(place: Place) -> None:
    place.describe(engine="whisper.cpp", tasks='["speech-to-text"]')
    assert_one_line(place.run("pull", "tiny:1m"), 1, "tiny:1m", "whisper.cpp")
    assert place.web.requests == []


def test_a_reranker_whose_file_lacks_the_head_that_scores_is_not_installed(place: Place) -> None:
    place.describe(tasks='["rerank"]')
    assert_one_line(place.run("pull", "tiny:1m"), 1, "no head")
    assert not Store(place.data).has("tiny:1m")


def test_a_name_that_is_nearly_one_of_the_catalogue_is_answered_with_it(place: Place) -> None:
    assert_one_line(place.run("pull", "lama3.1:8b"), 1, "llama3.1:8b")


def test_an_entry_may_name_a_file_of_this_machine_whose_path_is_told_to_nobody(place: Place) -> None:
    place.describe()
    file = place.file("tiny-F32.gguf")
    own = place.data / "catalogue.toml"
    own.write_text(own.read_text().replace("hf:tiny/llama-GGUF/tiny-F32.gguf", f"file:{file}"))
    assert place.run("pull", "tiny:1m").code == 0
    shown = place.run("show", "tiny:1m").out
    assert "Nothing but tests." in shown
    assert str(file) not in shown
