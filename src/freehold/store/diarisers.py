"""Models that tell speakers apart: a segmentation of pyannote's form, and a model that tells how alike two voices are.

sherpa-onnx's makers publish each by itself, as an ONNX file that says what it is; a folder with one of each is a diariser.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.errors import BadModelFile
from freehold.hardware.onnx import onnx_properties

_FRAMEWORKS = frozenset({"wespeaker", "3d-speaker"})


def needed(folder: Path, names: list[str]) -> dict[str, str]:
    """The two files by their roles, of the ONNX files of that folder: of several of a kind the first by name that is not
    quantised. Raises BadModelFile where one is missing."""
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (".int8." in name, name)):
        found.setdefault(_role(onnx_properties(folder / name)), name)
    roles: dict[str, str] = {role: found[role] for role in ("segmentation", "embedding") if role in found}
    if missing := {"segmentation", "embedding"} - roles.keys():
        raise BadModelFile(
            "The folder is no model: to tell speakers apart it lacks the part for "
            f"{' and '.join(sorted(missing))}, and to hear a tokens.txt.",
            "See docs/transcription.md.",
        )
    return roles


def options(files: Mapping[str, Path], roles: Mapping[str, str]) -> dict[str, Any]:
    """What a manifest says of it. Raises BadModelFile for files that changed while they were copied."""
    if any(_role(onnx_properties(files[name], name)) != role for role, name in roles.items()):
        raise BadModelFile("The folder changed while it was read.", "Try again.")
    return {"family": "pyannote", "files": dict(roles), "slots": 1}


def _role(properties: Mapping[str, str]) -> str:
    """ "" for a file that is neither."""
    if "powerset_max_classes" in properties and properties.get("sample_rate") == "16000":
        return "segmentation"
    return "embedding" if properties.get("framework") in _FRAMEWORKS and "output_dim" in properties else ""
