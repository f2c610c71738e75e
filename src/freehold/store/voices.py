"""What voices the files of a model hold, as sherpa-onnx's makers write it into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from freehold.errors import BadModelFile
from freehold.hardware.onnx import onnx_properties

_MOST_SPEAKERS = 10_000
_SLOTS = 2

# Kokoro's voices begin with their language and their sex, as in af_heart (hexgrad/Kokoro-82M, VOICES.md). Japanese needs a
# reading of its characters that nothing here gives.
_KOKORO: Mapping[str, str] = MappingProxyType(
    {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br", "z": "zh"}
)
_SEXES: Mapping[str, str] = MappingProxyType({"f": "female", "m": "male"})
_LANGUAGES: Mapping[str, str] = MappingProxyType({"english": "en-us", "chinese": "zh"})


def described(files: Mapping[str, Path], label: str) -> dict[str, Any]:
    """The options of a model's manifest, from its files by name; `label` is what its only voice is called.

    Raises BadModelFile for files that are no voice model of a known family.
    """
    names = [name for name in files if name.endswith(".onnx") and not name.startswith(("vocos", "hifigan"))]
    if len(names) != 1 or "tokens.txt" not in files:
        raise BadModelFile("The files are no voice model.", "It has one ONNX file and a tokens.txt.")
    properties = onnx_properties(files[names[0]])
    family = _family(properties, files)
    voices = _voices(family, properties, label, any(name.startswith("lexicon-zh") for name in files))
    return {"family": family, "slots": _SLOTS, "voices": voices}


def _family(properties: Mapping[str, str], files: Mapping[str, Path]) -> str:
    kind = properties.get("model_type", "").lower()
    if "kitten" in kind:
        return "kitten"
    if "kokoro" in kind:
        return "kokoro"
    if "matcha" in kind:
        return "matcha"
    if kind == "vits" and "piper" in properties.get("comment", "").lower():
        return "piper"
    raise BadModelFile(
        f"No engine here speaks with a voice model of the kind {kind[:40]!a}.", "Take one of Piper, Kokoro, Kitten or Matcha."
    )


def _voices(family: str, properties: Mapping[str, str], label: str, chinese: bool) -> list[dict[str, Any]]:
    count = properties.get("n_speakers", "1")
    speakers = min(_MOST_SPEAKERS, max(1, int(count) if count.isdecimal() and len(count) < 9 else 1))
    listed = properties.get("speaker_names") or properties.get("id2speaker") or ""
    names = [name.rpartition("->")[2].strip()[:80] for name in listed.split(",") if name.strip()]
    if family == "kokoro":
        return _of_kokoro(names[:speakers], chinese)
    if len(names) != speakers:
        names = [label] if speakers == 1 else [f"{label}-{number}" for number in range(speakers)]
    language = properties.get("voice") or properties.get("language", "").lower()
    language = _LANGUAGES.get(language, language)[:40]
    return [
        {"id": name, "speaker": number, "language": language, "gender": _SEXES.get(_sex(name), "")}
        for number, name in enumerate(names)
    ]


def _sex(name: str) -> str:
    """Of a voice called expr-voice-2-m, as early models of Kitten call theirs."""
    return name[-1] if name.startswith("expr-voice-") else ""


def _of_kokoro(names: list[str], chinese: bool) -> list[dict[str, Any]]:
    """Those whose language can be spoken, English first."""
    found = [
        {"id": name, "speaker": number, "language": _KOKORO[name[0]], "gender": _SEXES.get(name[1:2], "")}
        for number, name in enumerate(names)
        if name[0] in _KOKORO and (chinese or name[0] != "z")
    ]
    if not found:
        raise BadModelFile("The model does not name its voices.", "Take sherpa-onnx's edition of Kokoro.")
    return sorted(found, key=lambda voice: str(voice["language"]) != "en-us")
