"""A model of a few kilobytes, with random weights, for builds that are tested where no model is installed.

It is of the llama architecture; its tokenizer has a token for each byte, so it reads any text. Format: GGUF 3
(ggml/docs/gguf.md).
"""

from __future__ import annotations

import array
import random
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

_WIDTH, _FEED, _HEADS, _KV_HEADS, _CONTEXT = 32, 64, 4, 2, 512
_KV_WIDTH = _WIDTH // _HEADS * _KV_HEADS
_ALIGNMENT = 32
_U32, _I32, _F32, _STRING, _ARRAY = 4, 5, 6, 8, 9  # types of metadata values
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # types of tokens
_TOKENS = ["<unk>", "<s>", "</s>", "▁", *(f"<0x{byte:02X}>" for byte in range(256))]
_TOKEN_TYPES = [_UNKNOWN, _CONTROL, _CONTROL, _NORMAL, *[_BYTE] * 256]


def write_sample(path: Path) -> Path:
    """Writes the model; the same bytes each time."""
    tensors = _tensors()
    metadata = _metadata()
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata)), *metadata]
    offset = 0
    for name, shape, data in tensors:
        head.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset))
        offset += len(_padded(data))
    path.write_bytes(_padded(b"".join(head)) + b"".join(_padded(data) for _, _, data in tensors))
    return path


def _metadata() -> list[bytes]:
    numbers = {
        "llama.context_length": _CONTEXT,
        "llama.embedding_length": _WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": _FEED,
        "llama.attention.head_count": _HEADS,
        "llama.attention.head_count_kv": _KV_HEADS,
        "llama.rope.dimension_count": _WIDTH // _HEADS,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    texts = {"general.architecture": "llama", "general.name": "sample", "tokenizer.ggml.model": "llama"}
    return [
        *(_text(key) + struct.pack("<I", _STRING) + _text(value) for key, value in texts.items()),
        *(_text(key) + struct.pack("<II", _U32, value) for key, value in numbers.items()),
        _text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", _F32, 1e-5),
        _list("tokenizer.ggml.tokens", _STRING, [_text(token) for token in _TOKENS]),
        _list("tokenizer.ggml.scores", _F32, [struct.pack("<f", -index) for index in range(len(_TOKENS))]),
        _list("tokenizer.ggml.token_type", _I32, [struct.pack("<i", kind) for kind in _TOKEN_TYPES]),
    ]


def _tensors() -> list[tuple[str, tuple[int, ...], bytes]]:
    """Name, shape (fastest dimension first) and bytes of each tensor, all F32."""
    block = "blk.0"
    matrices = {
        "token_embd.weight": (_WIDTH, len(_TOKENS)),
        "output.weight": (_WIDTH, len(_TOKENS)),
        f"{block}.attn_q.weight": (_WIDTH, _WIDTH),
        f"{block}.attn_k.weight": (_WIDTH, _KV_WIDTH),
        f"{block}.attn_v.weight": (_WIDTH, _KV_WIDTH),
        f"{block}.attn_output.weight": (_WIDTH, _WIDTH),
        f"{block}.ffn_gate.weight": (_WIDTH, _FEED),
        f"{block}.ffn_up.weight": (_WIDTH, _FEED),
        f"{block}.ffn_down.weight": (_FEED, _WIDTH),
    }
    numbers = random.Random(1)  # noqa: S311 - weights, not secrets
    norms = ("output_norm.weight", f"{block}.attn_norm.weight", f"{block}.ffn_norm.weight")
    return [
        *((name, (_WIDTH,), _floats([1.0] * _WIDTH)) for name in norms),
        *(
            (name, shape, _floats([numbers.gauss(0, 0.5) for _ in range(shape[0] * shape[1])]))
            for name, shape in matrices.items()
        ),
    ]


def _floats(values: Sequence[float]) -> bytes:
    packed = array.array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _list(key: str, kind: int, items: Sequence[bytes]) -> bytes:
    return _text(key) + struct.pack("<IIQ", _ARRAY, kind, len(items)) + b"".join(items)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
