"""How much memory llama.cpp takes for a model: the formula behind every plan.

Counted is what others lose: memory of the worker's own, and the pages of the mapped file that it reads. Where the engine makes
itself a copy of weights (Q4_0, IQ4_NL and others, repacked for the processor), the copy counts and the file's pages do not:
nobody reads them again, and the system drops them when it needs room.

Sizes of caches, states and outputs are the engine's own arithmetic: llama.cpp's src/llama-kv-cache.cpp,
llama-kv-cache-iswa.cpp, llama-memory-recurrent.cpp, and output_reserve in llama-context.cpp. What its graph allocator takes,
and the process itself, is fitted to measurements; `make bench ARGS=fit` repeats them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from freehold.hardware.layers import Layer
from freehold.hardware.plan import Knobs, KvType
from freehold.hardware.shape import Shape

MIB = 2**20
# (elements, bytes) of a block of each type; ggml-common.h
_KV_BLOCKS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "f32": (1, 4),
        "f16": (1, 2),
        "bf16": (1, 2),
        "q8_0": (32, 34),
        "q5_1": (32, 24),
        "q5_0": (32, 22),
        "q4_1": (32, 20),
        "q4_0": (32, 18),
    }
)
_CELLS = 256  # the cache of a sequence is padded to this many tokens
_FLOAT = 4
PROCESS = 37 * MIB  # Python and the engine: 21 MiB of its own, 16 MiB of libraries
_TOKEN = 370  # bytes: a token of the vocabulary, with its merge and the tables to find both
ENCODER = 28 * MIB  # the same of a process that only encodes: no templates, no samplers
_WORD = 120  # bytes: a word of a vocabulary without merges
GPU_CONTEXT = 400 * MIB  # what a GPU's driver and kernels take of its memory for a process
GPU_HOST = 200 * MIB  # what its libraries take of the host's


def cells(context: int, window: int, ubatch: int) -> int:
    """Tokens that a block keeps for one slot: the context, or for a sliding window that and a batch."""
    full = _padded(context)
    return min(full, _padded(window + ubatch)) if window else full


def kv_bytes(layer: Layer, context: int, slots: int, kv_type: KvType, ubatch: int) -> int:
    """Bytes that a block keeps for all slots: the KV of their tokens, and the states of recurrent blocks."""
    return slots * (_row(layer, cells(context, layer.window, ubatch), kv_type) + layer.state)


def may_be_quantised(shape: Shape) -> bool:
    """Whether the KV cache may be of a type with blocks: each head's keys and values are whole blocks."""
    kept = [layer for layer in shape.layers if layer.kv_heads]
    return bool(kept) and all(layer.key_length % 32 == 0 and layer.value_length % 32 == 0 for layer in kept)


def checkpoint_bytes(shape: Shape, context: int, kv_type: KvType) -> int:
    """Bytes of a copy of what a sequence cannot be rolled back in: its windows and states.

    0 for a model that attends to everything; it needs no such copies. Made by create_checkpoint in server-context.cpp.
    """
    windows = (_row(layer, min(layer.window, context), kv_type) for layer in shape.layers if layer.window)
    return sum(windows) + sum(layer.state for layer in shape.layers)


def compute_bytes(shape: Shape, context: int, slots: int, ubatch: int, knobs: Knobs) -> int:
    """Bytes of the buffers that a physical batch passes through, on each device that holds blocks.

    The widest point is the feed-forward; without flash attention the scores of all heads come on top. A decoder that embeds
    computes logits of every token, too, though nobody wants them.
    """
    tokens = min(ubatch, _padded(context) * slots)
    width = (2 if shape.encoder else 4) * shape.feed_forward + 2 * shape.embedding
    if shape.pools and not shape.encoder:
        width = max(width, shape.vocab + 5 * shape.embedding)
    windows = {layer.window for layer in shape.layers}
    mask = sum(2 * cells(context, window, ubatch) for window in windows)
    scores = shape.heads * _padded(context) * _FLOAT if knobs.flash_attention == "off" else 0
    return tokens * (width * _FLOAT + mask + scores)


def output_bytes(shape: Shape, slots: int, ubatch: int) -> int:
    """Bytes of what leaves the engine's graph: logits of one token a slot, or, for embeddings, of every token of a batch."""
    rows = max(ubatch, slots) if shape.pools else slots
    return rows * (shape.vocab + (shape.embedding if shape.pools else 0)) * _FLOAT


def process_bytes(shape: Shape) -> int:
    """Bytes of the process itself: the libraries, and the vocabulary with its merges."""
    return ENCODER + _WORD * shape.vocab if shape.encoder else PROCESS + _TOKEN * shape.vocab


def _row(layer: Layer, tokens: int, kv_type: KvType) -> int:
    elements, size = _KV_BLOCKS[kv_type]
    return tokens * layer.kv_heads * (layer.key_length + layer.value_length) * size // elements


def _padded(tokens: int) -> int:
    return -(-tokens // _CELLS) * _CELLS
