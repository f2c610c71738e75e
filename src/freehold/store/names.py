"""Names of models: what may be one, and how it becomes the name of a file."""

from __future__ import annotations

import hashlib
import re
import string
from pathlib import PurePath

from freehold.aliases import LONGEST, is_name
from freehold.errors import InvalidRequest

_ELSEWHERE = ("https://", "http://", "hf:", "hf.co/", "huggingface.co/", "ollama:", "pypi:")
_LONGEST_FILE = 200  # characters; file systems end at 255 bytes, and a suffix follows


def check_name(name: str) -> str:
    """The name itself, when it is one: words of letters, digits, `.`, `_` and `-`, joined by `/` or `:`. Case is kept.

    Raises InvalidRequest (param "model") for anything else, path-like names above all.
    """
    if len(name) > LONGEST:
        raise InvalidRequest(f"A model's name has at most {LONGEST} characters; this one has {len(name)}.", param="model")
    if not is_name(name):
        raise InvalidRequest(
            f"{name!a} is not a model's name. Names are letters, digits, '.', '_' and '-', in parts joined by ':' or '/', "
            "such as 'smollm2:135m'.",
            param="model",
        )
    return name


def file_name(name: str) -> str:
    """A checked name as the name of a file (no suffix): one to one, also where the file system ignores case."""
    plain = string.ascii_lowercase + string.digits + "._-"
    quoted = "".join(letter if letter in plain else f"%{ord(letter):02X}" for letter in name)
    if len(quoted) <= _LONGEST_FILE:
        return quoted
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{quoted[: _LONGEST_FILE - 65]}~{digest}"  # "~" is in no name, so this can be no other name's file


def name_for(file: str) -> str:
    """A model's name made from the name of its file: `Qwen3-0.6B-Q8_0.gguf` gives `Qwen3-0.6B-Q8_0`."""
    stem = re.sub(r"(?i)\.gguf$", "", PurePath(file).name)
    words = re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "-", stem)
    return words.lstrip("._-")[:LONGEST].rstrip("._-") or "model"


def is_path(reference: str) -> bool:
    """Whether what is to be pulled is a file on this machine, and not a name or an address."""
    if reference.startswith(_ELSEWHERE):
        return False
    return reference.startswith(("file:", "/", ".", "~")) or reference.lower().endswith(".gguf")
