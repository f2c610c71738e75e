"""A model's folder is looked at before anything of it is loaded: no pickles, no code, nothing from elsewhere."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from freehold.fleet.environments import Environment
from freehold.workers.images.folder import Unfit, checked
from tests.images.parts import drawing

INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
}


def write(folder: Path, **changes: Any) -> Path:
    (folder / "unet").mkdir()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"x")
    (folder / "unet" / "config.json").write_text("{}")
    (folder / "model_index.json").write_text(json.dumps({**INDEX, **changes}))
    return folder


def test_a_usual_folder_is_read(tmp_path: Path) -> None:
    index = checked(write(tmp_path))
    assert (index.pipeline, index.variant) == ("StableDiffusionPipeline", None)
    assert list(index.parts) == ["unet", "text_encoder", "safety_checker"]
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").rename(
        tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    )
    assert checked(tmp_path).variant == "fp16"


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.ckpt", "model.pkl", "unet.py", "x.onnx", "a.SAFETENSORS.bin"])
def test_a_folder_with_a_pickle_or_code_is_not_loaded(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / "unet" / name).write_bytes(pickle.dumps({}))
    with pytest.raises(Unfit, match="neither safetensors nor text"):
        checked(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": ["my_pipeline", "MyPipeline"]},
        {"_class_name": "../../evil"},
        {"_class_name": None},
        {"unet": ["my_unet", "UNet"]},
        {"unet": ["os", "system"]},
        {"unet": ["diffusers", "__import__"]},
        {"unet": ["stable_diffusion", "StableDiffusionPipeline"]},
        {"unet": ["diffusers"]},
        {"../unet": ["diffusers", "UNet2DConditionModel"]},
    ],
)
def test_an_index_that_names_other_code_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(Unfit):
        checked(write(tmp_path, **changes))


def _no_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def _deep(folder: Path) -> None:
    (folder / "model_index.json").write_text("[" * 100_000)


def _elsewhere(folder: Path) -> None:
    shards = {"weight_map": {"a": "../../other/model.safetensors"}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(shards))


def _quantised(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "torchao"}}))


@pytest.mark.parametrize("change", [_no_index, _deep, _elsewhere, _quantised])
def test_texts_that_mislead_are_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    change(write(tmp_path))
    with pytest.raises(Unfit):
        checked(tmp_path)


def test_a_worker_ends_before_it_reads_a_pickle(engine: Environment, tiny: Path, tmp_path: Path) -> None:
    """The pickle would write a file, were it read."""
    folder, trace = tmp_path / "model", tmp_path / "trace"

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return os.mkdir, (str(trace),)

    for path in tiny.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(tiny)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    refusal = r"diffusion_pytorch_model\.bin' is neither safetensors nor text"
    with pytest.raises(RuntimeError, match=refusal), drawing(engine, folder):
        pass
    assert not trace.exists()
