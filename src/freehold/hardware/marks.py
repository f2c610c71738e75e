"""The special tokens that fill-in-the-middle needs, as they stand in the vocabularies of model files.

Converters hardly ever write the keys `tokenizer.ggml.fim_*_token_id`, so the tokens are known by their texts: those of the
models' own tokenizers; llama.cpp's src/llama-vocab.cpp knows about half of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MARKS = frozenset(
    (
        *("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
        *("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<reponame>", "<repo_name>", "<file_sep>", "<filename>"),
        *("<fim-prefix>", "<fim-suffix>", "<fim-middle>", "<fim-pad>"),
        *("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
        *("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>", "<PRE>", "<SUF>", "<MID>", "<EOT>"),
        *("[PREFIX]", "[SUFFIX]", "[MIDDLE]"),
        *("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"),
        *("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
        *("<|file_separator|>", "<|fim_repo|>", "<|prefix|>", "<|suffix|>", "<|middle|>"),
    )
)
_KEYS = ("pre", "suf", "mid", "pad", "rep", "sep")
_OLD_KEYS: Mapping[str, str] = {"pre": "prefix", "suf": "suffix", "mid": "middle"}


def marks_of(metadata: Mapping[str, Any], found: Mapping[str, int]) -> dict[str, int]:
    """Token ids by the texts of MARKS, and under "@pre", "@suf", "@mid", "@pad", "@rep" and "@sep" those that the file's own
    keys name. `found` are the marks that its vocabulary has."""
    marks = dict(found)
    for key in _KEYS:
        named = metadata.get(
            f"tokenizer.ggml.fim_{key}_token_id", metadata.get(f"tokenizer.ggml.{_OLD_KEYS.get(key)}_token_id")
        )
        if type(named) is int and 0 <= named < 2**31:
            marks[f"@{key}"] = named
    return marks
