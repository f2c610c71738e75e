"""Tiny pipelines of the families that people use, built, saved, loaded and drawn with, under the engine's own Python.

    ENVIRONMENT/bin/python -I tests/images/families.py FOLDER

Prints a JSON line for each.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[2] / "src" / "freehold"


def _package() -> None:
    """Freehold's package and nothing else of this checkout, as freehold.workers.start does it."""
    spec = importlib.util.spec_from_file_location("freehold", HOME / "__init__.py", submodule_search_locations=[str(HOME)])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["freehold"] = package
    spec.loader.exec_module(package)


def sdxl() -> Any:
    import diffusers
    import transformers

    from freehold.workers.images import sample

    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
        use_linear_projection=True,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=sample._autoencoder(4, 0.13),
        text_encoder=transformers.CLIPTextModel(sample._clip()),
        text_encoder_2=transformers.CLIPTextModelWithProjection(sample._clip()),
        tokenizer=sample._tokenizer(),
        tokenizer_2=sample._tokenizer(),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(),
    )


def sd3() -> Any:
    import diffusers
    import transformers

    from freehold.workers.images import sample

    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
    )
    t5 = transformers.T5Config(vocab_size=514, d_model=32, d_ff=16, d_kv=8, num_layers=1, num_heads=2)
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=sample._autoencoder(16, 1.5, 0.06),
        text_encoder=transformers.CLIPTextModelWithProjection(sample._clip()),
        tokenizer=sample._tokenizer(),
        text_encoder_2=transformers.CLIPTextModelWithProjection(sample._clip()),
        tokenizer_2=sample._tokenizer(),
        text_encoder_3=transformers.T5EncoderModel(t5),
        tokenizer_3=sample._tokenizer(),
    )


def qwen_image() -> Any:
    import diffusers
    import transformers

    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **_small(),
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            "rope_theta": 1e6,
        },
        vision_config={"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
        hidden_size=16,
        vocab_size=300,
        vision_end_token_id=100,
        vision_start_token_id=101,
        vision_token_id=102,
    )
    return diffusers.QwenImagePipeline(
        transformer=transformer,
        vae=vae,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=_qwen_tokenizer(),
    )


def z_image() -> Any:
    import diffusers
    import transformers

    from freehold.workers.images import sample

    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    config = transformers.Qwen3Config(**_small(), max_position_embeddings=512, head_dim=8)
    return diffusers.ZImagePipeline(
        transformer=transformer,
        vae=sample._autoencoder(16, 0.36, 0.11),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        text_encoder=transformers.Qwen3Model(config),
        tokenizer=_qwen_tokenizer(),
    )


def _small() -> dict[str, int]:
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "vocab_size": 300, **heads}


def _qwen_tokenizer() -> Any:
    """Qwen's, with bytes for words."""
    import transformers

    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    letters = [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]
    vocab = {word: index for index, word in enumerate([*letters, "<|endoftext|>", "<|im_start|>", "<|im_end|>"])}
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocab, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


def drawn(folder: Path) -> dict[str, Any]:
    """What the worker's own code makes of a pipeline: from words, with one in the making, an edit, a variation, a hole."""
    from PIL import Image, ImageChops

    from freehold.workers.images.draw import Painter
    from freehold.workers.images.drawing import Watch
    from freehold.workers.images.pipeline import Pipeline
    from freehold.workers.images.request import parsed

    model = Pipeline(folder, {}, {"size": 64, "steps": 3}, 1)
    painter, shown = Painter(model), list[bytes]()

    def sized(kind: Any, table: dict[str, Any], *images: Image.Image, mask: Image.Image | None = None) -> Image.Image:
        import io

        asked = parsed(kind, {"seed": 1, "steps": 4, **table}, images, mask)
        (made,) = painter.draw(asked, painter.job(asked), [1], Watch(partial=shown.append))
        return Image.open(io.BytesIO(made.data))

    photo = Image.effect_noise((64, 64), 50).convert("RGB")
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (16, 16, 48, 48))
    edited = sized("edit", {"prompt": "a hat"}, photo, mask=mask)
    return {
        "words": sized("generation", {"prompt": "a tree", "partial_images": 1}).size,
        "partials": len(shown),
        "edit": sized("edit", {"prompt": "a hat"}, photo).size,
        "variation": sized("variation", {"prompt": ""}, photo).size,
        "hole": ImageChops.difference(edited, photo).getbbox(),
        "reads": model.prompt_tokens("a tree")[1],
    }


FAMILIES: dict[str, Callable[[], Any]] = {"sdxl": sdxl, "sd3": sd3, "qwen-image": qwen_image, "z-image": z_image}


def main() -> None:
    warnings.filterwarnings("ignore")
    _package()
    import torch

    for name, build in FAMILIES.items():
        torch.manual_seed(0)
        folder = Path(sys.argv[1]) / name
        build().save_pretrained(folder)
        print(json.dumps({"family": name, **drawn(folder)}), flush=True)


if __name__ == "__main__":
    main()
