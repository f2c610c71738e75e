"""What a model file says about itself: the facts that placement, the catalog and the user need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from freehold.errors import BadModelFile
from freehold.hardware.gguf import Header, Skipped
from freehold.hardware.layers import Layer, anatomy
from freehold.hardware.marks import marks_of
from freehold.hardware.ranking import Score, score_of

_LARGEST = 1 << 31

# general.file_type → name; enum llama_ftype of llama.h
_FILE_TYPES: Mapping[int, str] = MappingProxyType(
    {
        0: "F32",
        1: "F16",
        2: "Q4_0",
        3: "Q4_1",
        7: "Q8_0",
        8: "Q5_0",
        9: "Q5_1",
        10: "Q2_K",
        11: "Q3_K_S",
        12: "Q3_K_M",
        13: "Q3_K_L",
        14: "Q4_K_S",
        15: "Q4_K_M",
        16: "Q5_K_S",
        17: "Q5_K_M",
        18: "Q6_K",
        19: "IQ2_XXS",
        20: "IQ2_XS",
        21: "Q2_K_S",
        22: "IQ3_XS",
        23: "IQ3_XXS",
        24: "IQ1_S",
        25: "IQ4_NL",
        26: "IQ3_S",
        27: "IQ3_M",
        28: "IQ2_S",
        29: "IQ2_M",
        30: "IQ4_XS",
        31: "IQ1_M",
        32: "BF16",
        36: "TQ1_0",
        37: "TQ2_0",
        38: "MXFP4_MOE",
        39: "NVFP4",
        40: "Q1_0",
        41: "Q2_0",
    }
)
_POOLING = ("none", "mean", "cls", "last", "rank")  # enum llama_pooling_type of llama.h


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of a model. `parameters` counts weights; lengths are in tokens or elements; `size_bytes` is the file's.

    `pooling` is how token vectors become one ("mean", "cls", "last", "rank", "none"), None where the model says nothing of it.
    Where a count differs from block to block, the largest stands here. `layers` are the blocks one by one, `input_bytes` and
    `output_bytes` what stands before and behind them (the same tensor where `tied_output`); a model that was installed before
    these were known has none. `marks` are the tokens of fill-in-the-middle (`freehold.hardware.marks`); `score` is what the
    head of a model that ranks gives (`freehold.hardware.ranking`), "" for one that has none; `decision` is the kind of a model
    that answers typed questions with probabilities (GGUF's key `{architecture}.decision.type`), "" for any other.
    """

    architecture: str
    parameters: int
    context_length: int
    embedding_length: int
    block_count: int
    head_count: int
    head_count_kv: int
    vocab_size: int
    quantization: str
    pooling: str | None
    chat_template: str | None
    size_bytes: int
    layers: tuple[Layer, ...] = ()
    input_bytes: int = 0
    output_bytes: int = 0
    tied_output: bool = False
    feed_forward_length: int = 0
    marks: Mapping[str, int] = field(default_factory=dict)
    score: Score = ""
    decision: str = ""


def facts_of(header: Header, size_bytes: int) -> ModelFacts:
    """The facts in a header. Raises BadModelFile when one is missing or makes no sense."""
    metadata = header.metadata
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        _bad("it does not name its architecture")
    heads = _size(metadata, f"{architecture}.attention.head_count", default=0)
    template = metadata.get("tokenizer.chat_template")
    parts = anatomy(metadata, header.tensors)
    pooling = _pooling(metadata.get(f"{architecture}.pooling_type"))
    return ModelFacts(
        architecture=architecture,
        parameters=sum(tensor.elements for tensor in header.tensors),
        context_length=_size(metadata, f"{architecture}.context_length"),
        embedding_length=_size(metadata, f"{architecture}.embedding_length"),
        block_count=_size(metadata, f"{architecture}.block_count"),
        head_count=heads,
        head_count_kv=_size(metadata, f"{architecture}.attention.head_count_kv", default=heads),
        vocab_size=_vocab_size(metadata, architecture),
        quantization=_quantization(header),
        pooling=pooling,
        chat_template=template if isinstance(template, str) else None,
        size_bytes=size_bytes,
        layers=parts.layers,
        input_bytes=parts.input_bytes,
        output_bytes=parts.output_bytes,
        tied_output=parts.tied,
        feed_forward_length=_feed_forward(metadata, architecture),
        marks=marks_of(metadata, header.marks),
        score=score_of(metadata, header.tensors, pooling),
        decision=str(metadata.get(f"{architecture}.decision.type") or "")[:40],
    )


def _bad(reason: str) -> NoReturn:
    raise BadModelFile(f"The model file is not complete: {reason}.", "It may be an adapter, or a part of one.")


def _size(metadata: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A positive count, or with a default a count of 0 or more."""
    value = metadata.get(key, default)
    if isinstance(value, tuple) and value and all(type(item) is int for item in value):
        value = max(value)
    if value is None:
        _bad(f"it says nothing of {key[:80]!a}")
    if type(value) is not int or not (1 if default is None else 0) <= value < _LARGEST:
        _bad(f"its {key[:80]!a} makes no sense")
    return value


def _feed_forward(metadata: Mapping[str, Any], architecture: str) -> int:
    """The inner width of a block: of a mixture of experts, that of those which a token passes together."""
    dense = _size(metadata, f"{architecture}.feed_forward_length", default=0)
    used = _size(metadata, f"{architecture}.expert_used_count", default=0)
    mixed = used * _size(metadata, f"{architecture}.expert_feed_forward_length", default=dense)
    all_mixed = used and not _size(metadata, f"{architecture}.leading_dense_block_count", default=0)
    return mixed if all_mixed else max(dense, mixed)


def _vocab_size(metadata: Mapping[str, Any], architecture: str) -> int:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Skipped | tuple):
        return len(tokens)
    return _size(metadata, f"{architecture}.vocab_size", default=0)


def _quantization(header: Header) -> str:
    """The file's own word for it; where it gives none, the type that most weights have."""
    named = header.metadata.get("general.file_type")
    if type(named) is int and named in _FILE_TYPES:
        return _FILE_TYPES[named]
    weights: dict[str, int] = {}
    for tensor in header.tensors:
        weights[tensor.type] = weights.get(tensor.type, 0) + tensor.elements
    return max(weights, key=lambda name: weights[name], default="unknown")


def _pooling(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < len(_POOLING):
        _bad("its kind of pooling is unknown")
    return _POOLING[value]
