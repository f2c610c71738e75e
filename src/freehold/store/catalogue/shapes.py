"""From an entry of the catalogue to the shape that memory planning works on, before a byte of the model is here.

What an entry does not publish is set so that a plan asks for rather more than the model takes: all of it is an estimate, and
gives way to the file's own facts once the model is installed.
"""

from __future__ import annotations

from typing import Any

from freehold.hardware.layers import Layer
from freehold.hardware.shape import Shape
from freehold.store.catalogue.entry import BITS_PER_WEIGHT, Architecture, Entry, Variant

# Dense models of these sizes, with the widest KV cache that is usual for them: what stands in for an unpublished architecture.
_TYPICAL = (
    (0.8e9, Architecture(28, 1024, 16, 8, 128, 150_000, 28)),
    (2.5e9, Architecture(28, 2048, 16, 8, 128, 150_000, 28)),
    (10e9, Architecture(36, 4096, 32, 8, 128, 150_000, 36)),
    (20e9, Architecture(48, 5120, 40, 8, 128, 150_000, 48)),
    (50e9, Architecture(64, 5120, 64, 8, 128, 150_000, 64)),
    (200e9, Architecture(80, 8192, 64, 8, 128, 150_000, 80)),
    (float("inf"), Architecture(94, 8192, 64, 8, 128, 150_000, 94)),
)
_STATE_PER_WIDTH = 640  # bytes a recurrent block keeps for each element of the embedding: Qwen3.5's gated delta net in f32
_TIED_ABOVE = 0.08  # where the vocabulary is a larger share of the weights, models use one table for both ends


def published_shape(entry: Entry, variant: Variant | None = None) -> Shape | None:
    """The shape of a variant (the chosen one); None when not even its size can be told."""
    variant = variant or entry.variant
    size = entry.size(variant)
    if size is None:
        return None
    projector = entry.projector_bytes(variant)
    bits = BITS_PER_WEIGHT[variant.quantization]
    weights = max(1, size.bytes - projector)
    if not all(file.name.endswith(".gguf") for file in variant.of_role("weights")):
        weights = round(entry.parameters * bits / 8)  # they are converted to that once they are here
    known = entry.architecture or typical(entry.parameters)
    table = min(weights // 3, round(known.vocab * known.embedding * bits / 8))
    tied = known.vocab * known.embedding > _TIED_ABOVE * entry.parameters
    return Shape(
        layers=_layers(entry, known, weights - table * (1 if tied else 2)),
        input_bytes=table,
        output_bytes=table,
        tied=tied,
        vocab=known.vocab,
        embedding=known.embedding,
        feed_forward=4 * known.embedding,
        heads=known.heads,
        trained_context=entry.context,
        encoder=_is_encoder(entry),
        pools=_pools(entry),
        splits=_pools(entry) and not _is_encoder(entry),  # all of them take the last token's vector
        projector_bytes=projector,
        parameters=entry.parameters,
        quantization=variant.quantization,
    )


def folder_memory(size: int) -> int:
    """Bytes that a model of another engine than llama.cpp takes when loaded, by those of its files: the weights, what the
    engine makes of them, and what it works in."""
    return round(1.2 * size) + 400 * 2**20


def drawing_options(entry: Entry, variant: Variant | None = None) -> dict[str, Any]:
    """What the manifest of a pipeline will say of its memory (freehold.store.pipelines), as far as its entry knows: "size", and
    the parameters of its denoiser, the option "unet" or "transformer", and of all others. Empty where it does not."""
    options = (variant or entry.variant).options
    kind = next((kind for kind in ("unet", "transformer") if kind in options), None)
    if kind is None:
        return {}
    denoiser = int(options[kind])
    components = {kind: {"parameters": denoiser}, "others": {"parameters": max(0, entry.parameters - denoiser)}}
    return {"size": int(options.get("size", 1024)), "components": components}


def typical(parameters: int) -> Architecture:
    """A dense architecture of about that many weights."""
    return next(shape for most, shape in _TYPICAL if parameters <= most)


def _pools(entry: Entry) -> bool:
    return "embedding" in entry.tasks or "rerank" in entry.tasks


def _is_encoder(entry: Entry) -> bool:
    """Encoders read a text in one pass and keep nothing of it; others that pool keep what a chat model does."""
    known = entry.architecture
    return _pools(entry) and (known is None or not (known.kv_layers or known.window_layers))


def _layers(entry: Entry, known: Architecture, weights: int) -> tuple[Layer, ...]:
    """The blocks, all of one size, with those that keep all tokens spread evenly among the others."""
    experts = weights * (entry.parameters - entry.active) // entry.parameters if entry.active and _has_experts(entry) else 0
    sizes = {"weights": (weights - experts) // known.layers, "experts": experts // known.layers}
    if known.kv_latent:
        full = Layer(**sizes, kv_heads=1, key_length=known.kv_latent)
    else:
        full = Layer(**sizes, kv_heads=known.kv_heads, key_length=known.head_dim, value_length=known.head_dim)
    if _is_encoder(entry):
        return (Layer(**sizes),) * known.layers
    windowed = Layer(
        **sizes, kv_heads=known.kv_heads, key_length=known.head_dim, value_length=known.head_dim, window=known.window
    )
    recurrent = Layer(**sizes, state=_STATE_PER_WIDTH * known.embedding)
    others = [windowed] * known.window_layers
    others += [recurrent] * (known.layers - known.kv_layers - known.window_layers)
    layers: list[Layer] = []
    for index in range(known.layers):
        due = (index + 1) * known.kv_layers // known.layers > index * known.kv_layers // known.layers
        layers.append(full if due else others.pop())
    return tuple(layers)


def _has_experts(entry: Entry) -> bool:
    """Gemma's E models use fewer weights than they have because most are embeddings of each layer; those are no experts."""
    return not entry.name.rpartition(":")[2].startswith("e")
