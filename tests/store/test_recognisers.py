"""A folder with a recogniser of speech is pulled for what its files say it is, with what it needs and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.errors import BadModelFile
from freehold.store import recognisers
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.workers import ears, speakers


@pytest.mark.parametrize(
    ("build", "family", "languages"),
    [
        (ears.streaming, "streaming-transducer", None),
        (ears.transducer, "transducer", None),
        (ears.whisper, "whisper", ["de", "en"]),
    ],
)
def test_a_folder_is_a_recogniser(
    build: Callable[[Path], dict[str, str]], family: str, languages: list[str] | None, tmp_path: Path
) -> None:
    folder = tmp_path / "a model"
    folder.mkdir()
    roles = build(folder)
    (folder / "README.md").write_text("Hello.")
    manifest = pull(Store(tmp_path / "data"), str(folder), on_progress=lambda progress: None)
    assert (manifest.name, manifest.task, manifest.engine, manifest.source) == (
        "a-model",
        "transcription",
        "sherpa-onnx",
        "file",
    )
    assert {file.name for file in manifest.files} == set(roles.values())
    assert (manifest.options["family"], manifest.options["files"]) == (family, roles)
    assert manifest.options.get("languages") == languages
    assert {path.name for path in Store(tmp_path / "data").folder(manifest).iterdir()} == set(roles.values())


def test_a_folder_with_a_segmentation_and_an_embedding_tells_speakers_apart(tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    folder.mkdir()
    speakers.segmentation(folder / "model.onnx")
    speakers.segmentation(folder / "model.int8.onnx")
    speakers.embedding(folder / "voxceleb_resnet34.onnx")
    manifest = pull(Store(tmp_path / "data"), str(folder), on_progress=lambda progress: None)
    assert (manifest.name, manifest.task, manifest.engine) == ("voices", "diarization", "sherpa-onnx")
    assert manifest.options["files"] == {"segmentation": "model.onnx", "embedding": "voxceleb_resnet34.onnx"}
    assert {file.name for file in manifest.files} == {"model.onnx", "voxceleb_resnet34.onnx"}


def test_of_two_precisions_one_is_taken() -> None:
    published = ["README.md", "bpe.model", "test.wav", "tokens.txt"]
    published += [f"{part}-epoch-99-avg-1{kind}.onnx" for part in ("encoder", "decoder", "joiner") for kind in ("", ".int8")]
    assert recognisers.needed(published) == {
        "encoder": "encoder-epoch-99-avg-1.int8.onnx",
        "decoder": "decoder-epoch-99-avg-1.onnx",
        "joiner": "joiner-epoch-99-avg-1.int8.onnx",
        "tokens": "tokens.txt",
    }
    assert recognisers.needed(["base.en-encoder.onnx", "base.en-decoder.int8.onnx", "base.en-tokens.txt"]) == {
        "encoder": "base.en-encoder.onnx",
        "decoder": "base.en-decoder.int8.onnx",
        "tokens": "base.en-tokens.txt",
    }


def test_what_is_no_recogniser_is_refused(tmp_path: Path) -> None:
    folder, data = tmp_path / "model", tmp_path / "data"
    folder.mkdir()

    def refused(match: str) -> None:
        with pytest.raises(BadModelFile, match=match):
            pull(Store(data), str(folder), on_progress=lambda progress: None)

    refused("neither a model_index.json")
    (folder / "tokens.txt").write_text("<blk> 0\n")
    refused("lacks its encoder, decoder")
    for role in ("encoder", "decoder"):
        (folder / f"{role}.onnx").write_bytes(b"garbage")
    refused("encoder.onnx is not a sound ONNX file")
    ears.transducer(folder)
    (folder / "joiner.onnx").unlink()
    refused("kind 'zipformer2'")
    (folder / "tokens.txt").unlink()
    refused("lacks the part for embedding and segmentation")
    with (folder / "model_index.json").open("wb") as index:
        index.truncate(2**40)  # a terabyte of nothing, which is not read
    refused("model_index.json cannot be read")
    assert not Store(data).list()
