"""The kinds of model that sherpa-onnx recognises speech with: how each is loaded, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

Loader = Callable[[Mapping[str, str], int, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Family:
    """`longest` is the seconds of a piece that it recognises best; `timed` whether it tells when each token was said;
    `translates` whether it can put what was said into English; `chooses` whether it can be told the language.
    """

    load: Loader
    files: tuple[str, ...]
    longest: float = 28.0
    timed: bool = False
    translates: bool = False
    chooses: bool = False
    optional: tuple[str, ...] = field(default=())


def _moonshine(files: Mapping[str, str], threads: int, options: Mapping[str, Any]) -> Any:
    import sherpa_onnx

    names = ("encoder", "decoder", "tokens")
    return sherpa_onnx.OfflineRecognizer.from_moonshine_v2(**{name: files[name] for name in names}, num_threads=threads)


FAMILIES: Mapping[str, Family] = MappingProxyType({"moonshine": Family(_moonshine, ("encoder", "decoder", "tokens"))})


@dataclass(frozen=True)
class Model:
    """A loaded model. `languages` are the codes of those it knows, none where nobody has written them down."""

    family: Family
    engine: Any
    languages: tuple[str, ...]

    @property
    def language(self) -> str:
        """The one that it knows; "" where it may be any of several."""
        return self.languages[0] if len(self.languages) == 1 else ""


def load(folder: Path, options: Mapping[str, Any], threads: int) -> Model:
    """Loads what a manifest's options describe. Raises ValueError for what is no such model."""
    family = FAMILIES.get(str(options.get("family")))
    if family is None:
        raise ValueError(f"the family {str(options.get('family'))[:80]!r} is not one of {', '.join(FAMILIES)}")
    named = options.get("files")
    if not isinstance(named, dict) or (missing := [name for name in family.files if name not in named]):
        raise ValueError(f"the model lacks {', '.join(missing) if isinstance(named, dict) else 'its files'}")
    files = {str(role): str(folder / str(name)) for role, name in named.items()}
    if absent := [role for role, path in files.items() if not Path(path).is_file()]:  # sherpa-onnx ends the process then
        raise ValueError(f"the model's {', '.join(absent)} is not there")
    return Model(family, family.load(files, threads, options), tuple(options.get("languages", ())))
