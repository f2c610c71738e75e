"""How a model that ranks says how well a text answers a query: by a head of its own, which its file must have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from freehold.hardware.attention import ENCODERS
from freehold.hardware.gguf import TensorInfo

# What the head's number is: a logit; its hyperbolic tangent, where the head ends in its dense layer; or a probability.
Score = Literal["", "logit", "tanh", "probability"]

_SOFTMAX = frozenset({"qwen3", "qwen3vl"})  # two outputs, yes and no, of which the engine gives the first one's share


def score_of(metadata: Mapping[str, Any], tensors: Iterable[TensorInfo], pooling: str | None) -> Score:
    """The kind of number that the model's head gives, "" without a head (build_pooling of llama.cpp's llama-graph.cpp).

    Converters write the pooling of decoders only: an encoder with a head of one output ranks, too.
    """
    architecture = metadata.get("general.architecture")
    if pooling != "rank" and architecture not in ENCODERS:
        return ""
    outputs = {tensor.name: tensor.shape[-1] for tensor in tensors if tensor.name in ("cls.weight", "cls.output.weight")}
    if architecture in _SOFTMAX:
        return "probability" if outputs.get("cls.output.weight") == 2 else ""
    if "cls.output.weight" in outputs:
        return "logit" if outputs["cls.output.weight"] == 1 else ""
    return "tanh" if outputs.get("cls.weight") == 1 and architecture != "modern-bert" else ""
