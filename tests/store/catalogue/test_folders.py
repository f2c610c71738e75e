"""Models of other engines than llama.cpp are a folder of files, plain or in an archive: pulled, checked, and really run."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.store.store import Store
from tests.cli.parts import Result, assert_one_line, run
from tests.conftest import Server, fake_model, serving
from tests.speech import BECKETT, HEARS, clip, word_errors
from tests.store.hubs import Repository
from tests.store.parts import Web, sha256, web_server

ENTRY = """
[[entries]]
name = "ears:1m"
license = "MIT"
parameters = 27_000_000
tasks = ["speech-to-text"]
input = ["audio"]
engine = "sherpa-onnx"

[[entries.variants]]
quantization = "INT8"
files = [{files}]
options.family = "{family}"
options.languages = ["en"]
options.files = {{ encoder = "{encoder}", decoder = "{decoder}", tokens = "{tokens}" }}
"""
REPOSITORY = "org/ears"
ARCHIVE = "ears-1.0.tar.bz2"


class Place:
    """A hub with one repository, and a data folder beside it."""

    def __init__(self, folder: Path, web: Web, parts: dict[str, Path]):
        self.folder, self.web, self.parts = folder, web, parts
        self.data = folder / "data"
        self.data.mkdir()
        self.options = {"encoder": "encoder_model.ort", "decoder": "decoder_model_merged.ort", "tokens": "tokens.txt"}

    def offer(self, files: dict[str, Path]) -> None:
        Repository(self.web, REPOSITORY, files).serve()

    def describe(self, *files: str, family: str = "moonshine") -> None:
        own = ENTRY.format(files=", ".join(f"{{ {file} }}" for file in files), family=family, **self.options)
        (self.data / "catalogue.toml").write_text(own)

    def run(self, *arguments: object) -> Result:
        env = {"HF_ENDPOINT": self.web.url, "FREEHOLD_URL": "", "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1"}
        return run(self.folder, *arguments, "--data-dir", self.data, env=env)

    def archive(self, members: dict[str, bytes], *odd: tarfile.TarInfo) -> Path:
        path = self.folder / ARCHIVE
        with tarfile.open(path, "w:bz2", compresslevel=1) as tar:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            for member in odd:
                tar.addfile(member)
        self.offer({ARCHIVE: path})
        return path


@pytest.fixture
def place(tmp_path: Path, starters: Path) -> Iterator[Place]:
    store = Store(starters)
    manifest = store.get(HEARS)
    parts = {file.name: store.path(file) for file in manifest.files}
    (tmp_path / "web").mkdir()
    with web_server(tmp_path / "web") as web:
        yield Place(tmp_path, web, parts)


def hears(server: Server, model: str) -> str:
    boundary, wav = "b0undary", clip("beckett.wav").read_bytes()
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = head.encode() + wav + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    status, _, answer = server.request("POST", "/v1/audio/transcriptions", body, kind)
    assert status == 200, answer
    return str(answer["text"])


def test_an_archive_is_pulled_unpacked_and_answers(place: Place) -> None:
    data = {f"ears-1.0/{name}": path.read_bytes() for name, path in place.parts.items()}
    archive = place.archive(data | {"ears-1.0/test_wavs/0.wav": b"x", "ears-1.0/README.md": b"x"})
    place.describe(f'role = "archive", reference = "hf:{REPOSITORY}/{ARCHIVE}", members = ["*.ort", "tokens.txt"]')
    done = place.run("pull", "ears:1m")
    assert done.code == 0, done
    manifest = Store(place.data).get("ears:1m")
    assert {file.name for file in manifest.files} == set(place.parts)
    assert (manifest.task, manifest.engine, manifest.license) == ("transcription", "sherpa-onnx", "MIT")
    assert manifest.options["memory_bytes"] > manifest.size
    again = len(place.web.asked(ARCHIVE))
    assert place.run("pull", "ears:1m").code == 0
    assert len(place.web.asked(ARCHIVE)) == again
    assert archive.stat().st_size  # the hub still has it
    fake_model(place.data)
    settings = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(place.data, env=settings, ready=False) as server:
        assert word_errors(BECKETT, hears(server, "ears:1m")) <= 0.1
        card = server.get("/v1/models/ears:1m")[2]
    assert (card["architecture"]["input_modalities"], card["architecture"]["output_modalities"]) == (["audio"], ["text"])


def test_several_files_are_pulled_by_what_the_hub_knows_of_them(place: Place) -> None:
    place.offer(dict(place.parts))
    pinned = sha256(place.parts["encoder_model.ort"])
    place.describe(
        f'role = "weights", reference = "hf:{REPOSITORY}/encoder_model.ort", sha256 = "{pinned}"',
        f'role = "weights", reference = "hf:{REPOSITORY}/decoder_model_merged.ort"',
        f'role = "weights", reference = "hf:{REPOSITORY}/tokens.txt"',
    )
    done = place.run("pull", "ears:1m")
    assert done.code == 0, done
    store = Store(place.data)
    manifest = store.get("ears:1m")
    folder = store.folder(manifest)
    assert folder is not None
    assert {path.name: sha256(path) for path in folder.iterdir()} == {name: sha256(path) for name, path in place.parts.items()}
    shown = place.run("list").out
    assert "ears:1m" in shown
    assert "transcription" in shown
    assert json.loads(place.run("show", "ears:1m", "--json").out)["license"] == "MIT"


def link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("members", "odd", "word"),
    [
        ({"ears-1.0/tokens.txt": b"x"}, [], "lacks"),
        ({"ears-1.0/../../evil.ort": b"x", "ears-1.0/tokens.txt": b"x"}, [], "no name"),
        ({"other/tokens.txt": b"x", "other/a.ort": b"x"}, [], "not in it"),
        ({"ears-1.0/tokens.txt": b"x"}, [link("ears-1.0/a.ort")], "neither"),
        ({"ears-1.0/tokens.txt": b"x", "ears-1.0/a.ort": bytes(80 << 20)}, [], "far more"),
    ],
    ids=["lacking", "climbing", "elsewhere", "a link", "a bomb"],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    place: Place, members: dict[str, bytes], odd: list[tarfile.TarInfo], word: str
) -> None:
    place.archive(members, *odd)
    place.describe(f'role = "archive", reference = "hf:{REPOSITORY}/{ARCHIVE}", members = ["*.ort", "tokens.txt"]')
    assert_one_line(place.run("pull", "ears:1m"), 1, word)
    assert Store(place.data).list() == []


def test_an_archive_that_is_none_is_refused(place: Place) -> None:
    path = place.folder / ARCHIVE
    path.write_bytes(b"BZh9" + bytes(1000))
    place.offer({ARCHIVE: path})
    place.describe(f'role = "archive", reference = "hf:{REPOSITORY}/{ARCHIVE}", members = ["*"]')
    assert_one_line(place.run("pull", "ears:1m"), 1, "cannot be read")


def test_a_file_that_the_hub_does_not_have_is_named(place: Place) -> None:
    place.offer(dict(place.parts))
    place.describe(f'role = "weights", reference = "hf:{REPOSITORY}/model.onnx"')
    assert_one_line(place.run("pull", "ears:1m"), 1, "model.onnx", REPOSITORY)
