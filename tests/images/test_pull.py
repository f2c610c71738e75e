"""Pipelines come from a hub or a folder, with what they are loaded from and nothing else."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import BadModelFile, SourceUnreachable
from freehold.store import pipelines
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.store.hubs import Repository
from tests.store.parts import Web, web_server

INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.30.0",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "feature_extractor": [None, None],
}
# As a large repository looks: the pipeline in two precisions, pickles, other programs' forms, whole checkpoints, pictures.
NEEDED = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
OTHERS = (
    "README.md",
    "sd_xl_base_1.0.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "text_encoder/model.onnx",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "vae_1_0/diffusion_pytorch_model.safetensors",
    "vae_1_0/config.json",
    "vae/diffusion_pytorch_model.msgpack",
    "images/one.png",
)


def safetensors(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """A file of zeros in float16."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def content(name: str) -> bytes:
    """What is in a file of that name."""
    if name == "model_index.json":
        return json.dumps(INDEX).encode()
    if name == "unet/config.json":
        return json.dumps({"sample_size": 128}).encode()
    if name == "vae/config.json":
        return json.dumps({"block_out_channels": [128, 256, 512, 512]}).encode()
    if name.endswith(".safetensors"):
        return safetensors({name: (len(name), 10)})
    return json.dumps({"of": name}).encode()


def write(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    paths = {name: folder / name for name in names}
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name))
    return paths


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    (tmp_path / "web").mkdir()
    with web_server(tmp_path / "web") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def test_only_what_the_pipeline_is_loaded_from_is_fetched(web: Web, tmp_path: Path) -> None:
    Repository(web, "stabilityai/sdxl-turbo", write(tmp_path / "repo", (*NEEDED, *OTHERS))).serve()
    store = Store(tmp_path / "data")
    manifest = pull(store, "hf:stabilityai/sdxl-turbo", on_progress=lambda progress: None)
    assert (manifest.name, manifest.task, manifest.engine) == ("sdxl-turbo", "image", "diffusers")
    assert sorted(file.name for file in manifest.files) == sorted(NEEDED)
    assert {file.role for file in manifest.files} == {"part"}
    fetched = {path.partition("/resolve/")[2].partition("/")[2] for path, _ in web.requests if "/resolve/" in path}
    assert {name for name in fetched if name} == set(NEEDED)
    folder = store.folder(manifest)
    assert folder is not None
    for name in NEEDED:
        assert (folder / name).read_bytes() == content(name)
    assert manifest.license == "apache-2.0"
    assert manifest.options["size"] == 512  # turbo's own, not its configuration's
    assert (manifest.options["steps"], manifest.options["guidance"]) == (4, 0)
    shards = ("unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",) * 2
    assert manifest.options["components"]["unet"] == {"parameters": sum(10 * len(name) for name in shards)}


def test_a_folder_is_copied_and_named_after_itself(tmp_path: Path) -> None:
    write(tmp_path / "my-sdxl", (*NEEDED, *OTHERS))
    store = Store(tmp_path / "data")
    manifest = pull(store, str(tmp_path / "my-sdxl"), on_progress=lambda progress: None)
    assert manifest.name == "my-sdxl"
    assert sorted(file.name for file in manifest.files) == sorted(NEEDED)
    assert (manifest.options["size"], manifest.options["steps"]) == (1024, 30)
    assert store.has("my-sdxl")
    store.verify("my-sdxl")
    store.remove("my-sdxl")
    assert not list((tmp_path / "data" / "models" / "blobs").iterdir())


def test_a_folder_without_an_index_is_no_pipeline(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadModelFile, match=r"neither a model_index\.json"):
        pull(Store(tmp_path / "data"), str(tmp_path / "empty"), on_progress=lambda progress: None)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("[", "cannot be read"),
        ("[]", "names no pipeline"),
        (json.dumps({**INDEX, "_class_name": ["mine", "MyPipeline"]}), "names no pipeline"),
        (json.dumps({**INDEX, "unet": ["my_unet", "MyUNet"]}), "code of its own"),
        (json.dumps({**INDEX, "../vae": ["diffusers", "AutoencoderKL"]}), "makes no sense"),
        (json.dumps({**INDEX, "image_encoder": ["transformers", "CLIPVisionModel"]}), "image_encoder is missing"),
    ],
)
def test_an_index_that_asks_for_more_than_weights_is_refused(tmp_path: Path, index: str, said: str) -> None:
    folder = tmp_path / "model"
    write(folder, NEEDED)
    (folder / "model_index.json").write_text(index)
    with pytest.raises(BadModelFile, match=said):
        pull(Store(tmp_path / "data"), str(folder), on_progress=lambda progress: None)
    assert Store(tmp_path / "data").list() == []


def test_weights_that_are_there_as_pickles_only_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, (*NEEDED, "vae/diffusion_pytorch_model.bin"))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BadModelFile, match="pickles only"):
        pull(Store(tmp_path / "data"), str(folder), on_progress=lambda progress: None)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\xff" * 100,
        struct.pack("<Q", 10**12) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        safetensors({"a": (4, 4)})[:-1],
        safetensors({"a": (4, 4)}).replace(b"[4, 4]", b"[4,-4]"),
        safetensors({"a": (4, 4)}).replace(b"[0, 32]", b"[-1, 3]"),
    ],
)
def test_broken_weights_are_refused_by_their_header(tmp_path: Path, broken: bytes) -> None:
    folder = tmp_path / "model"
    write(folder, NEEDED)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(broken)
    with pytest.raises(BadModelFile):
        pull(Store(tmp_path / "data"), str(folder), on_progress=lambda progress: None)


@pytest.mark.parametrize(
    ("family", "name", "transformer", "steps"),
    [
        ("StableDiffusionPipeline", "stable-diffusion-v1-5", {}, 25),
        ("FluxPipeline", "FLUX.1-dev", {"guidance_embeds": True}, 28),
        ("FluxPipeline", "a-copy-of-it", {"guidance_embeds": False}, 4),
        ("ZImagePipeline", "Z-Image-Turbo", {}, 9),
        ("SanaPipeline", "Sana_1600M", {}, None),
    ],
)
def test_steps_are_those_that_the_makers_of_a_family_recommend(
    tmp_path: Path, family: str, name: str, transformer: dict[str, Any], steps: int | None
) -> None:
    paths = write(tmp_path, NEEDED)
    paths["model_index.json"].write_text(json.dumps({**INDEX, "_class_name": family}))
    if transformer:
        paths["transformer/config.json"] = tmp_path / "transformer.json"
        paths["transformer/config.json"].write_text(json.dumps(transformer))
    assert pipelines.options(paths, name).get("steps") == steps


def test_a_name_of_the_catalogue_is_a_repository_as_a_whole(web: Web, tmp_path: Path) -> None:
    Repository(web, "stabilityai/sdxl-turbo", write(tmp_path / "repo", (*NEEDED, *OTHERS))).serve()
    store = Store(tmp_path / "data")
    manifest = pull(store, "sdxl-turbo", on_progress=lambda progress: None)
    assert (manifest.name, manifest.license) == ("sdxl-turbo", "Stability AI Community License")
    assert manifest.source == "hf:stabilityai/sdxl-turbo"
    assert manifest.description.startswith("SDXL Turbo: ")
    assert sorted(file.name for file in manifest.files) == sorted(NEEDED)


def test_a_gated_repository_says_what_to_do(web: Web, tmp_path: Path) -> None:
    Repository(web, "stabilityai/sdxl-turbo", write(tmp_path / "repo", NEEDED), gated=True).serve()
    with pytest.raises(SourceUnreachable, match="is gated"):
        pull(Store(tmp_path / "data"), "sdxl-turbo", on_progress=lambda progress: None)
