"""What may be in a model's folder, looked at before anything of it is loaded.

A folder of diffusers says in model_index.json which class each of its parts has (docs of diffusers, "Loading pipelines"). Such
a file can name code of its own, and weights can be pickles, which are programs: both are refused here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "model_index.json"
# .model is sentencepiece's vocabulary, a protobuf; .jinja a chat template, which transformers renders in a sandbox.
_ENDINGS = (".safetensors", ".json", ".txt", ".model", ".jinja")
_LARGEST_TEXT = 64 << 20  # bytes of a JSON file; a tokenizer's has up to 20 MB
_LIBRARIES = ("diffusers", "transformers")
_OF_PIPELINES = {("stable_diffusion", "StableDiffusionSafetyChecker")}
_CLASS = re.compile(r"[A-Z][A-Za-z0-9_]{1,80}")
_PART = re.compile(r"[a-z][a-z0-9_]{0,60}")
_FILE = re.compile(r"[A-Za-z0-9][\w.-]{0,200}")


class Unfit(Exception):
    """A folder that is not loaded, and why."""


@dataclass(frozen=True)
class Index:
    """`pipeline` is the name of diffusers' class; `parts` (library, class) by the name of each part that is there; `variant`
    the word in the names of the weights ("fp16"), None for the usual ones."""

    pipeline: str
    parts: Mapping[str, tuple[str, str]]
    variant: str | None


def checked(folder: Path) -> Index:
    """Raises Unfit for a folder with anything in it that is not weights in safetensors, or text."""
    variant = None
    for path in _files(folder):
        name = path.name
        if not name.lower().endswith(_ENDINGS):
            raise Unfit(f"{name!a} is neither safetensors nor text; only those are loaded, as others can hold programs")
        if ".fp16" in name:
            variant = "fp16"
        if name.endswith(".json"):
            _check_text(path)
    return _index(_read(folder / INDEX), variant)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            yield Path(parent, name)


def _index(table: Any, variant: str | None) -> Index:
    name = table.get("_class_name")
    if not isinstance(name, str) or not _CLASS.fullmatch(name):
        raise Unfit(f"{INDEX} names a pipeline of its own, and its code is not run")
    parts = {}
    for part, value in table.items():
        if part.startswith("_") or not isinstance(value, list):
            continue
        if not _PART.fullmatch(part) or len(value) != 2:
            raise Unfit(f"{INDEX} has a part that makes no sense: {part[:60]!a}")
        library, kind = value
        if library is None and kind is None:
            continue
        if not isinstance(kind, str) or not _CLASS.fullmatch(kind):
            raise Unfit(f"the part {part} has no class that is known")
        if library not in _LIBRARIES and (library, kind) not in _OF_PIPELINES:
            raise Unfit(f"the part {part} is of {str(library)[:60]!a}, which is neither diffusers nor transformers")
        parts[part] = (library, kind)
    if not parts:
        raise Unfit(f"{INDEX} names no parts")
    return Index(name, parts, variant)


def _check_text(path: Path) -> None:
    """Configurations that would make a library run code, read pickles, or look outside of the folder."""
    table = _read(path)
    if not isinstance(table, dict):
        return
    if "quantization_config" in table and path.name == "config.json":
        raise Unfit(f"{path.parent.name} is quantised by a library that is not installed here")
    names = table.get("weight_map") if path.name.endswith(".index.json") or ".index." in path.name else None
    if names is not None and not (
        isinstance(names, dict) and all(isinstance(name, str) and _FILE.fullmatch(name) for name in names.values())
    ):
        raise Unfit(f"{path.name} names files that are not beside it")


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise Unfit(f"{path.name} is too large")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise Unfit(f"{path.name} cannot be read") from None
