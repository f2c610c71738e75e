"""A tiny pipeline with random weights: `python -I start.py freehold.workers.images.sample FOLDER [FAMILY]`.

What an engine environment is tested with before it may replace another one. It is built of the same parts as the models that
people use (a text encoder, a denoiser and an autoencoder), a thousand times smaller, and draws colourful noise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel

_START, _END = "<|startoftext|>", "<|endoftext|>"


def stable_diffusion() -> StableDiffusionPipeline:
    """Stable Diffusion 1.5's parts: 64 by 64 pixels by default."""
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return StableDiffusionPipeline(
        vae=_autoencoder(4, 0.18215),
        text_encoder=CLIPTextModel(_clip()),
        tokenizer=_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def flux() -> FluxPipeline:
    """FLUX.1-schnell's parts: packed latents, a transformer, two text encoders."""
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    config = T5Config(vocab_size=514, d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(4, 0.3611, 0.1159),
        text_encoder=CLIPTextModel(_clip()),
        tokenizer=_tokenizer(),
        text_encoder_2=T5EncoderModel(config),
        tokenizer_2=_tokenizer(),
        transformer=transformer,
    )


FAMILIES = {"stable-diffusion": stable_diffusion, "flux": flux}


def write(folder: Path, family: str = "stable-diffusion") -> None:
    """Always the same weights."""
    torch.manual_seed(0)
    pipeline: Any = FAMILIES[family]()
    pipeline.save_pretrained(folder, safe_serialization=True)


def _autoencoder(channels: int, scale: float, shift: float | None = None) -> AutoencoderKL:
    """Eight pixels a latent, as the real ones."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=scale,
        shift_factor=shift,
    )


def _clip() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def _tokenizer() -> CLIPTokenizer:
    """CLIP's, with bytes for words: each of the 256 characters that stand for bytes, inside of a word and at its end."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    letters = [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:])
    print(json.dumps({"written": sys.argv[1]}))  # noqa: T201
