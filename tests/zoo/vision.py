"""Models that see: a tiny text model and a projector (mmproj) each, in the forms of two real families.

What a projector needs is read from llama.cpp's tools/mtmd/clip.cpp and clip-impl.h.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.zoo import templates, tokenizers
from tests.zoo.blocks import Dims, Tensors, attention, feed_forward, linear, model, norm
from tests.zoo.build import Shape
from tests.zoo.shapes import zoo

_PATCH, _WIDE, _INNER = 8, 64, 128  # pixels; elements


@dataclass(frozen=True)
class Seeing:
    """A text model and its projector; `side` is the pixels of the square that the encoder looks at."""

    text: Shape
    projector: Shape
    side: int


def seeing() -> list[Seeing]:
    return [_gemma(), _smol()]


def _gemma() -> Seeing:
    """Gemma 3: any picture becomes one square, so always as many tokens."""
    text = next(shape for shape in zoo() if shape.name == "gemma3")
    projection = {"mm.input_projection.weight": (64, _WIDE), **norm("mm.soft_emb_norm", _WIDE)}
    return Seeing(replace(text, name="gemma3-vision"), _projector("gemma3", 64, projection), 64)


def _smol() -> Seeing:
    """SmolVLM, a Llama with Idefics 3's projector: a large picture is cut in tiles, each with tokens of its own."""
    words = ("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>")
    tokenizer = tokenizers.bpe("smollm", words, bos=0, eos=1)
    d = Dims(len(tokenizer), context=2048)
    block = norm("attn_norm", d.embd) | norm("ffn_norm", d.embd) | attention(d) | feed_forward(d)
    keys = {
        "context_length": d.context,
        "embedding_length": d.embd,
        "block_count": 2,
        "feed_forward_length": d.ff,
        "attention.head_count": d.heads,
        "attention.head_count_kv": d.kv,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    text = Shape("smol-vision", "llama", keys, model(d, [block] * 2), tokenizer, templates.PARTS)
    projection = {"mm.model.fc.weight": (4 * _WIDE, d.embd)}
    return Seeing(text, _projector("idefics3", d.embd, projection, **{"vision.preproc_image_size": 192}), 64)


def _projector(kind: str, embd: int, projection: Tensors, side: int = 64, **keys: Any) -> Shape:
    patches = (side // _PATCH) ** 2
    tensors: Tensors = {
        "v.patch_embd.weight": (_PATCH, _PATCH, 3, _WIDE),
        "v.patch_embd.bias": (_WIDE,),
        "v.position_embd.weight": (_WIDE, patches),
        **norm("v.post_ln", _WIDE, bias=True),
        **projection,
    }
    for number in range(2):
        block = norm("ln1", _WIDE, bias=True) | norm("ln2", _WIDE, bias=True)
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            block |= linear(name, _WIDE, _WIDE, bias=True)
        block |= linear("ffn_up", _WIDE, _INNER, bias=True) | linear("ffn_down", _INNER, _WIDE, bias=True)
        tensors |= {f"v.blk.{number}.{name}": sizes for name, sizes in block.items()}
    about = {
        "has_vision_encoder": True,
        "projector_type": kind,
        "use_gelu": True,
        "vision.image_size": side,
        "vision.patch_size": _PATCH,
        "vision.embedding_length": _WIDE,
        "vision.feed_forward_length": _INNER,
        "vision.block_count": 2,
        "vision.projection_dim": embd,
        "vision.attention.head_count": 4,
        "vision.attention.layer_norm_epsilon": 1e-6,
        "vision.image_mean": [0.5, 0.5, 0.5],
        "vision.image_std": [0.5, 0.5, 0.5],
        "vision.projector.scale_factor": 2,
    }
    return Shape(f"mmproj-{kind}", "clip", about | keys, tensors, general={"general.type": "mmproj"})
