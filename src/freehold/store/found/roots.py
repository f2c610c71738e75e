"""Where other programs keep their models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Roots:
    """Folders to look into; those that are not there are passed over. `hub` is the layout of huggingface_hub's cache."""

    ollama: tuple[Path, ...] = ()
    lmstudio: tuple[Path, ...] = ()
    hub: tuple[Path, ...] = ()
    llamacpp: tuple[Path, ...] = ()


def usual(env: Mapping[str, str], home: Path) -> Roots:
    """The folders that each program uses unless told otherwise, and those that its variables name."""

    def named(variable: str, *below: str) -> tuple[Path, ...]:
        value = env.get(variable, "")
        return (Path(value).expanduser().joinpath(*below),) if value.startswith(("/", "~")) else ()

    caches = named("XDG_CACHE_HOME") or (home / ".cache",)
    return Roots(
        ollama=(*named("OLLAMA_MODELS"), home / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")),
        lmstudio=(home / ".lmstudio" / "models", *(cache / "lm-studio" / "models" for cache in caches)),
        hub=named("HF_HUB_CACHE") or named("HF_HOME", "hub") or tuple(cache / "huggingface" / "hub" for cache in caches),
        llamacpp=named("LLAMA_CACHE")
        or (*(cache / "llama.cpp" for cache in caches), home / "Library" / "Caches" / "llama.cpp"),
    )
