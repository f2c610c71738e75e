"""Recognisers as sherpa-onnx's makers publish them: a folder of ONNX files, which say what they are, and their tokens."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from freehold.errors import BadModelFile
from freehold.hardware.onnx import onnx_properties

TOKENS = re.compile(r"(?:[\w.-]+-)?tokens\.txt")
_TRANSDUCER = ("encoder", "decoder", "joiner")
_LANGUAGES = re.compile(r"[a-z]{2,3}(?:,[a-z]{2,3})*")


def needed(names: Collection[str]) -> dict[str, str]:
    """The files by their roles, of those in a folder: of two precisions the smaller, but for the decoder of a transducer, which
    is small and loses most by it. Raises BadModelFile where some are missing."""
    tokens = sorted(name for name in names if TOKENS.fullmatch(name))
    roles = _TRANSDUCER if any(_is(name, "joiner") for name in names) else _TRANSDUCER[:2]
    found: dict[str, str] = {}
    for role in roles:
        small, large = (sorted(_of(names, role, quantised=quantised)) for quantised in (True, False))
        whole = role == "decoder" and len(roles) == len(_TRANSDUCER)
        if choice := (large or small) if whole else (small or large):
            found[role] = choice[0]
    if missing := [role for role in roles if role not in found] or ([] if tokens else ["tokens"]):
        raise BadModelFile(f"The folder is no recogniser: it lacks its {', '.join(missing)}.", "See docs/transcription.md.")
    return {**found, "tokens": tokens[0]}


def options(files: Mapping[str, Path], roles: Mapping[str, str]) -> dict[str, Any]:
    """What a manifest says of it: `files` by their names, `roles` as `needed` gives them.

    Raises BadModelFile for a model of a kind that is not known.
    """
    properties = onnx_properties(files[roles["encoder"]], roles["encoder"])
    kind = properties.get("model_type", "")
    told: dict[str, Any] = {"files": dict(roles)}
    if "joiner" not in roles:
        if not kind.startswith("whisper"):
            raise BadModelFile(
                f"No engine here hears with a model of the kind {kind[:40]!a}.", "Take a transducer, or Whisper."
            )
        codes = properties.get("all_language_codes", "")
        languages = codes.split(",") if properties.get("is_multilingual") == "1" and _LANGUAGES.fullmatch(codes) else ["en"]
        return told | {"family": "whisper", "languages": languages, "translates": len(languages) > 1}
    if "decode_chunk_len" in properties:
        return told | {"family": "streaming-transducer"}
    return told | {"family": "nemo" if kind.startswith("EncDec") else "transducer"}


def _of(names: Iterable[str], role: str, *, quantised: bool) -> list[str]:
    return [name for name in names if _is(name, role) and (".int8." in name) == quantised]


def _is(name: str, role: str) -> bool:
    return re.fullmatch(rf"(?:[\w.-]+-)?{role}[\w.-]*\.onnx", name) is not None
