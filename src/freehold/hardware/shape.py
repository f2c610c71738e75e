"""What planning needs to know of a model: bytes of each block, and what the engine allocates for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from freehold.hardware.attention import ENCODERS
from freehold.hardware.facts import ModelFacts
from freehold.hardware.layers import Layer


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, in bytes where they are of memory.

    `input_bytes` is the token embedding, which stays in the host's memory; `output_bytes` what the last step needs, which goes
    to a GPU. With `tied` they are the same tensor: the host holds it once, and a GPU a copy of it. `feed_forward` is the widest
    that a token becomes inside a block. An `encoder` keeps no KV cache; a model that `pools` makes one vector of a text, read
    in one batch; one that `splits` takes that vector from the last token, and reads a text in several. `parameters` and
    `quantization` serve to say what a smaller file would take.
    """

    layers: tuple[Layer, ...]
    input_bytes: int
    output_bytes: int
    tied: bool
    vocab: int
    embedding: int
    feed_forward: int
    heads: int
    trained_context: int
    encoder: bool = False
    pools: bool = False
    splits: bool = False
    projector_bytes: int = 0
    parameters: int = 0
    quantization: str = ""

    @property
    def weights(self) -> int:
        """Bytes of all weights in the host's memory, when no GPU holds any."""
        return sum(layer.size for layer in self.layers) + self.ends + self.projector_bytes

    @property
    def ends(self) -> int:
        """Bytes of the first and the last step together, on one device."""
        return max(self.input_bytes, self.output_bytes) if self.tied else self.input_bytes + self.output_bytes

    def scaled(self, factor: float) -> Shape:
        """The same model with weights of another size, as another quantisation has them."""
        return replace(
            self,
            layers=tuple(
                replace(layer, weights=int(layer.weights * factor), experts=int(layer.experts * factor))
                for layer in self.layers
            ),
            input_bytes=int(self.input_bytes * factor),
            output_bytes=int(self.output_bytes * factor),
        )


def shape_of(facts: ModelFacts, projector_bytes: int = 0) -> Shape:
    """The shape in a model's facts; `projector_bytes` is the size of what lies beside its weights: the file
    that turns images into tokens, and an adapter."""
    known = facts if facts.layers else _guessed(facts)
    return Shape(
        layers=known.layers,
        input_bytes=known.input_bytes,
        output_bytes=known.output_bytes,
        tied=known.tied_output,
        vocab=facts.vocab_size,
        embedding=facts.embedding_length,
        feed_forward=facts.feed_forward_length or 4 * facts.embedding_length,
        heads=max(1, facts.head_count),
        trained_context=facts.context_length,
        encoder=facts.architecture in ENCODERS,
        pools=facts.architecture in ENCODERS or facts.pooling not in (None, "none"),
        splits=facts.architecture not in ENCODERS and facts.pooling in ("last", "rank"),
        projector_bytes=projector_bytes,
        parameters=facts.parameters,
        quantization=facts.quantization,
    )


def _guessed(facts: ModelFacts) -> ModelFacts:
    """Facts that do not tell the blocks apart, with equal ones that attend to everything: never less than it takes."""
    length = facts.embedding_length // max(1, facts.head_count)
    ends = min(facts.size_bytes // 2, facts.size_bytes * facts.vocab_size * facts.embedding_length // max(1, facts.parameters))
    weights = (facts.size_bytes - ends) // facts.block_count
    heads = 0 if facts.architecture in ENCODERS else facts.head_count_kv
    layer = Layer(weights, 0, heads, length, length)
    return replace(facts, layers=(layer,) * facts.block_count, input_bytes=ends, output_bytes=ends, tied_output=True)
