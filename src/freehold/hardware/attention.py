"""What each block of a model keeps of the tokens it has read, from the metadata of its file.

The engine's rules stand in llama.cpp's src/llama-hparams.cpp (sizes of rows and states), in load_arch_hparams of its models
(which blocks look through a window) and in create_memory of src/llama-model.cpp (which blocks have a cache at all). Files say
little of it: much is known by the name of the architecture alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# These read a text in one pass and keep nothing of it.
ENCODERS = frozenset(
    {
        "bert",
        "dream",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llada",
        "llada-moe",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "rnd1",
    }
)


@dataclass(frozen=True)
class _Pattern:
    """Of each `period` blocks one sees everything: the last, or with `dense_first` the first. 0: only the file tells."""

    period: int = 0
    dense_first: bool = False
    window: int = 0  # where the file names none


_WINDOWS: Mapping[str, _Pattern] = MappingProxyType(
    {
        "afmoe": _Pattern(4),
        "cohere2": _Pattern(4),
        "cohere2moe": _Pattern(4, dense_first=True),
        "dots3note": _Pattern(),
        "exaone-moe": _Pattern(4, window=128),
        "exaone4": _Pattern(4, window=4096),
        "gemma2": _Pattern(2, window=4096),
        "gemma3": _Pattern(6),
        "gemma3n": _Pattern(5),
        "gemma4": _Pattern(),
        "gpt-oss": _Pattern(2),
        "granite_swa": _Pattern(),
        "laguna": _Pattern(4, dense_first=True),
        "llama4": _Pattern(4, window=8192),
        "maple": _Pattern(),
        "mellum": _Pattern(4),
        "mimo2": _Pattern(),
        "muse-glimmer": _Pattern(4),
        "olmo2": _Pattern(4),
        "plamo3": _Pattern(8),
        "smallthinker": _Pattern(4, dense_first=True, window=4096),
        "spark2_5": _Pattern(),
        "step35": _Pattern(),
    }
)
_ALWAYS_BOTH = frozenset({"falcon-h1"})  # each block attends and has a state
_BY_INTERVAL = frozenset({"qwen3next", "qwen35", "qwen35moe", "qwen4exp", "minimax-01"})


@dataclass(frozen=True)
class Kept:
    """What one block keeps: the fields of a Layer of the same names."""

    kv_heads: int = 0
    key_length: int = 0
    value_length: int = 0
    window: int = 0
    state: int = 0


class _Metadata:
    """The model's own keys, as numbers that make sense. An array has a value for each block."""

    def __init__(self, metadata: Mapping[str, Any]):
        self._metadata = metadata
        self.architecture = str(metadata.get("general.architecture", ""))
        self.blocks = self.number("block_count")

    def raw(self, key: str) -> Any:
        return self._metadata.get(f"{self.architecture}.{key}")

    def number(self, key: str, default: int = 0, block: int = 0) -> int:
        value = self.raw(key)
        if isinstance(value, tuple):
            value = value[min(block, len(value) - 1)] if value else None
        return value if type(value) is int and 0 <= value < 1 << 31 else default


def kept_by(metadata: Mapping[str, Any]) -> tuple[Kept, ...]:
    """What each block keeps, in order. Blocks that only guess ahead (multi-token prediction) are not run, and keep nothing."""
    known = _Metadata(metadata)
    blocks = known.blocks - known.number("nextn_predict_layers")
    state = _state(known)
    found = [_kept(known, block, state) for block in range(blocks)]
    return (*found, *[Kept()] * (known.blocks - blocks))


def _kept(known: _Metadata, block: int, state: int) -> Kept:
    if known.architecture in ENCODERS:
        return Kept()
    recurrent = state > 0 and _is_recurrent(known, block)
    if recurrent and known.architecture not in _ALWAYS_BOTH:
        return Kept(state=state)
    window = _window(known, block)
    key, value = _lengths(known, bool(window))
    heads = known.number("attention.head_count_kv", known.number("attention.head_count", 0, block), block)
    if not heads or block >= _first_shared(known):
        return Kept(state=state if recurrent else 0)
    return Kept(heads, key, value, window, state if recurrent else 0)


def _lengths(known: _Metadata, windowed: bool) -> tuple[int, int]:
    """Elements of a head's keys and values."""
    usual = known.number("embedding_length") // max(1, known.number("attention.head_count"))
    key, value = known.number("attention.key_length", usual), known.number("attention.value_length", usual)
    if windowed:
        key, value = known.number("attention.key_length_swa", key), known.number("attention.value_length_swa", value)
    if known.number("attention.key_length_mla") and known.number("attention.value_length_mla"):
        value = 0  # latent attention: the values are a view of the keys
    return key + known.number("attention.indexer.key_length"), value


def _window(known: _Metadata, block: int) -> int:
    """Tokens that the block sees; 0: all."""
    if known.architecture in {"lfm2", "lfm2moe"}:
        return known.number("attention.sliding_window")
    pattern = _WINDOWS.get(known.architecture)
    if pattern is None or (known.architecture == "exaone4" and known.blocks != 64):
        return 0
    window = known.number("attention.sliding_window", pattern.window)
    given = known.raw("attention.sliding_window_pattern")
    if isinstance(given, tuple):
        return window if block < len(given) and given[block] else 0
    period = known.number("attention.sliding_window_pattern", pattern.period)
    if not period:
        return 0
    dense = block % period == 0 if pattern.dense_first else block % period == period - 1
    return 0 if dense else window


def _first_shared(known: _Metadata) -> int:
    """The first of the last blocks that use the cache of others."""
    if known.architecture == "gemma3n":
        return 20
    return known.blocks - known.number("attention.shared_kv_layers")


def _is_recurrent(known: _Metadata, block: int) -> bool:
    if known.architecture in _ALWAYS_BOTH:
        return True
    if known.architecture in _BY_INTERVAL:
        given = known.raw("attention.recurrent_layers")
        if isinstance(given, tuple):
            return block < len(given) and bool(given[block])
        return (block + 1) % max(1, known.number("full_attention_interval", 4)) != 0
    if known.number("attention.head_count_kv", 0, block):
        return False
    return not (known.architecture.startswith("nemotron_h") and known.number("feed_forward_length", 0, block))


def _state(known: _Metadata) -> int:
    """Bytes that a recurrent block keeps for a sequence, in numbers of 4 bytes; 0 where the model has no such block."""
    embedding, heads = known.number("embedding_length"), known.number("attention.head_count")
    if head := known.number("wkv.head_size"):
        return 4 * embedding * (known.number("token_shift_count", 2) + head)
    if cache := known.number("shortconv.l_cache"):
        return 4 * embedding * (cache - 1)
    kernel = max(1, known.number("ssm.conv_kernel", 1)) - 1
    if head := known.number("kda.head_dim"):
        return 4 * heads * head * (3 * (kernel or 3) + head)
    inner, size = known.number("ssm.inner_size"), known.number("ssm.state_size")
    groups = known.number("ssm.group_count")
    if not inner and known.architecture == "minimax-01":
        return 4 * heads * known.number("attention.key_length") ** 2
    return 4 * (kernel * (inner + 2 * groups * size) + size * inner)
