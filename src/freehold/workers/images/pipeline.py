"""A model's pipeline in memory, and what it can do: draw from words, from a picture, or into a picture's hole."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, DiffusionPipeline

from freehold.workers.images.canvas import Grid
from freehold.workers.images.folder import Index, Unfit, checked

Use = Literal["words", "picture", "hole"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_USUAL_SIDE = 1024
_FEW = 8  # steps at most of a model that was distilled to draw in few


class Pipeline:
    """`place` says where it lies: "device", "dtype", and "offload" for parts that come to the GPU when they are used.
    `options` are the model's own defaults: "size", "steps", "guidance"."""

    def __init__(self, folder: Path, place: Mapping[str, Any], options: Mapping[str, Any], threads: int):
        """Raises Unfit for a folder that is not loaded."""
        torch.set_num_threads(max(1, threads))
        self._options = options
        self._device, self._offload = str(place.get("device", "cpu")), bool(place.get("offload", False))
        self._main = self._loaded(folder, checked(folder), _DTYPES[str(place.get("dtype", "float32"))])
        self._main.set_progress_bar_config(disable=True)
        self._by_use: dict[Use, Any] = {}
        self._active: Any = None
        if not self._offload:
            self._main.to(self._device)
        self.grid = Grid(self._side(), self._multiple())

    @staticmethod
    def _loaded(folder: Path, index: Index, dtype: torch.dtype) -> Any:
        kind: Any = getattr(diffusers, index.pipeline, None)
        known = inspect.isclass(kind) and issubclass(kind, DiffusionPipeline)
        if not known:
            raise Unfit(f"{index.pipeline} is no pipeline of diffusers {diffusers.__version__}")
        return kind.from_pretrained(
            folder,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            variant=index.variant,
        )

    def for_use(self, use: Use) -> Any | None:
        """The pipeline for a use, of the same parts; None where the model has none."""
        if use not in self._by_use:
            self._by_use[use] = self._made(use)
        return self._by_use[use]

    def prepare(self, pipeline: Any, width: int, height: int) -> None:
        """Before a picture of that size is drawn with one of the pipelines. Nothing else may be drawn meanwhile."""
        if self._offload and pipeline is not self._active:
            pipeline.enable_model_cpu_offload(device=self._device)
            self._active = pipeline
        self._tile(width, height)

    def _made(self, use: Use) -> Any | None:
        takes_picture = "image" in parameters(self._main)
        if use == "words":
            return None if takes_picture else self._main
        if use == "picture" and takes_picture:
            return self._main
        maker = AutoPipelineForImage2Image if use == "picture" else AutoPipelineForInpainting
        try:
            made = maker.from_pipe(self._main)
        except ValueError:  # what diffusers raises for a family that it has no such pipeline for
            return None
        made.set_progress_bar_config(disable=True)
        return made

    def steps(self, quality: str) -> int:
        """Denoising steps for OpenAI's quality. Models that draw in few steps gain little by more of them."""
        usual = int(self._options.get("steps") or parameters(self._main)["num_inference_steps"].default)
        match quality:
            case "low":
                return max(1, math.ceil(usual / 2))
            case "high":
                return usual + max(1, usual // 2)
        return usual

    def guidance(self, pipeline: Any, asked: float | None) -> dict[str, float]:
        """How strictly the words are followed, under the name that the pipeline has for it."""
        value = asked if asked is not None else self._options.get("guidance")
        if value is None:
            return {}
        return {"true_cfg_scale" if type(pipeline).__name__.startswith("Qwen") else "guidance_scale": float(value)}

    def prompt_tokens(self, text: str) -> tuple[int, int]:
        """(tokens of a text, tokens that the model reads at most), by the tokenizer that reads most."""
        found = [(len(tokenizer(text).input_ids), self._reads(tokenizer)) for tokenizer in self._tokenizers()]
        return max(found, key=lambda pair: pair[1], default=(0, 10**9))

    def picture_tokens(self, width: int, height: int) -> int:
        """Patches of the latent picture that the denoiser computes with."""
        return (width // self.grid.multiple) * (height // self.grid.multiple)

    def _tokenizers(self) -> list[Any]:
        names = ("tokenizer", "tokenizer_2", "tokenizer_3", "tokenizer_4")
        return [part for name in names if (part := getattr(self._main, name, None)) is not None]

    def _reads(self, tokenizer: Any) -> int:
        longest = int(tokenizer.model_max_length)
        limit = parameters(self._main).get("max_sequence_length")
        if limit is None or "CLIP" in type(tokenizer).__name__:
            return longest
        return min(longest, int(limit.default))

    def _side(self) -> int:
        if size := self._options.get("size"):
            return int(size)
        latent = getattr(self._main, "default_sample_size", None)
        if latent is None:
            denoiser = getattr(self._main, "unet", None) or getattr(self._main, "transformer", None)
            latent = getattr(getattr(denoiser, "config", None), "sample_size", None)
        return int(latent * self._main.vae_scale_factor) if isinstance(latent, int) else _USUAL_SIDE

    def _multiple(self) -> int:
        """A UNet takes single latents, a transformer patches of two by two."""
        return int(self._main.vae_scale_factor) * (1 if getattr(self._main, "unet", None) is not None else 2)

    def _tile(self, width: int, height: int) -> None:
        """Pictures above the usual size are decoded piece by piece: in one they would take more memory than was planned."""
        vae: Any = getattr(self._main, "vae", None)
        if vae is not None and hasattr(vae, "enable_tiling"):
            vae.enable_tiling() if width * height > self.grid.side**2 else vae.disable_tiling()


def parameters(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """What a pipeline can be called with."""
    return inspect.signature(pipeline.__call__).parameters


def decode(pipeline: Any, latents: torch.Tensor, width: int, height: int) -> Any:
    """A picture in the making, as height x width x 3 numbers from 0 to 1, as the pipelines' own last lines have it."""
    vae = pipeline.vae
    config = vae.config
    if latents.ndim == 3:  # packed in patches
        latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
    mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    scale = getattr(config, "scaling_factor", None) or 1.0
    if mean is not None and deviation is not None:
        shape = (1, -1, *(1 for _ in latents.shape[2:]))
        mean, deviation = (torch.tensor(each).view(shape).to(latents.device, latents.dtype) for each in (mean, deviation))
        latents = latents * deviation / (scale if latents.ndim == 4 else 1.0) + mean
    else:
        latents = latents / scale + (getattr(config, "shift_factor", None) or 0.0)
    decoded = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
    if decoded.ndim == 5:
        decoded = decoded[:, :, 0]
    return pipeline.image_processor.postprocess(decoded, output_type="np")[0]
