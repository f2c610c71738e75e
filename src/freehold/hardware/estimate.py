"""How much memory llama.cpp takes for a model: the formula behind every plan.

Counted is what others lose: memory of the worker's own, and the pages of the mapped file that it keeps reading. Sources:
llama.cpp's src/llama-kv-cache.cpp and llama-kv-cache-iswa.cpp (cells), llama-memory-recurrent.cpp (states),
llama-context.cpp (compute and output buffers).
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
PROCESS = 96 * MIB  # Python, the engine's library, its HTTP server
GPU_CONTEXT = 400 * MIB  # what a GPU's driver and kernels take of its memory for a process
GPU_HOST = 200 * MIB  # what its libraries take of the host's


def cells(context: int, window: int, ubatch: int) -> int:
    """Tokens that a block keeps for one slot: the context, or for a sliding window that and a batch."""
    full = _padded(context)
    return min(full, _padded(window + ubatch)) if window else full


def kv_bytes(layer: Layer, context: int, slots: int, kv_type: KvType, ubatch: int) -> int:
    """Bytes that a block keeps for all slots: the KV of their tokens, and the states of recurrent blocks."""
    elements, size = _KV_BLOCKS[kv_type]
    tokens = cells(context, layer.window, ubatch)
    row = layer.kv_heads * (layer.key_length + layer.value_length)
    return slots * (tokens * row * size // elements + layer.state)


def may_be_quantised(shape: Shape) -> bool:
    """Whether the KV cache may be of a type with blocks: each head's keys and values are whole blocks."""
    kept = [layer for layer in shape.layers if layer.kv_heads]
    return bool(kept) and all(layer.key_length % 32 == 0 and layer.value_length % 32 == 0 for layer in kept)


def compute_bytes(shape: Shape, context: int, slots: int, ubatch: int, knobs: Knobs) -> int:
    """Bytes of the buffers that a batch passes through, on each device that holds blocks."""
    tokens = min(ubatch, context * slots)
    widest = max(shape.vocab + shape.embedding, 4 * shape.feed_forward + 6 * shape.embedding)
    attention = 0 if knobs.flash_attention != "off" else shape.heads * _padded(context) * 4
    mask = _padded(context) * slots * 2
    return tokens * (widest * 4 + attention + mask)


def output_bytes(shape: Shape, slots: int) -> int:
    """Bytes of the logits that leave the engine's graph."""
    return slots * (shape.vocab + shape.embedding) * 4


def process_bytes(shape: Shape) -> int:
    """Bytes of the process itself: the libraries, and the vocabulary with its merges."""
    return PROCESS + 400 * shape.vocab


def _padded(tokens: int) -> int:
    return -(-tokens // _CELLS) * _CELLS
