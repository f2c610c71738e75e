"""Models that come with a default install: there is nothing to fetch, only to write down."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from freehold.errors import StoreError
from freehold.store.manifest import Manifest
from freehold.store.progress import OnProgress
from freehold.store.staged import Staged
from freehold.store.store import Store

ESPEAK = "espeak-ng"
_SOURCE = "package:espeakng-loader"
_MEMORY = 112 * 2**20  # bytes: as measured (docs/speech.md), most of it Python's, and room for several texts
_SLOTS = 8
_FIRST = "en-us"  # what speaks when a text says nothing of its language
# OpenAI's voices as espeak-ng's: accents of English, with the variants that are clearest.
_OPENAI: Mapping[str, str] = {
    "alloy": "en-us",
    "ash": "en-us+m3",
    "ballad": "en-gb+m7",
    "cedar": "en-us+m1",
    "coral": "en-us+f2",
    "echo": "en-us+m2",
    "fable": "en-gb",
    "marin": "en-us+f4",
    "nova": "en-us+f3",
    "onyx": "en-us+m4",
    "sage": "en-gb+f2",
    "shimmer": "en-us+f1",
    "verse": "en-gb+m3",
}


@dataclass(frozen=True)
class FromInstall:
    """A source: espeak-ng, whose library and data lie in the package espeakng-loader."""

    name: str = ESPEAK

    def is_in(self, installed: Manifest) -> bool:
        """Another version of the package may have other voices."""
        return installed.source == _SOURCE and dict(installed.options) == _options()

    def stage(self, store: Store, report: OnProgress) -> contextlib.AbstractContextManager[Staged]:
        raise StoreError(f"{self.name} has no files.")


def install(store: Store, name: str) -> Manifest:
    """Writes the model down. Raises StoreError when the package is not there."""
    manifest = Manifest(
        name=name,
        task="speech",
        engine="espeak-ng",
        files=(),
        source=_SOURCE,
        license="GPL-3.0-or-later",
        created=int(time.time()),
        options=_options(),
        description="espeak-ng: robotic speech in over 100 languages, at once, on any machine.",
    )
    return store.install(manifest, {})


def _options() -> dict[str, Any]:
    data = _data()
    return {
        "memory_bytes": _MEMORY,
        "slots": _SLOTS,
        "voices": _voices(data / "lang"),
        "voice_variants": _variants(data / "voices" / "!v"),
        "openai_voices": dict(_OPENAI),
    }


def _data() -> Path:
    """espeak-ng's data, found without the package being imported."""
    spec = find_spec("espeakng_loader")
    folder = Path(spec.origin).parent / "espeak-ng-data" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        raise StoreError("The package espeakng-loader is not installed.", "Install Freehold anew, with its dependencies.")
    return folder


def _voices(folder: Path) -> list[dict[str, Any]]:
    """A voice for each language file, as espeak-ng's docs/voices.md describes them; English first."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and _has_words(path, folder.parent)]
    found = [_voice(path, path.relative_to(folder).as_posix()) for path in paths]
    taken = {voice["id"] for voice in found}
    first: dict[str, tuple[int, str]] = {}  # by language, the voice with the best priority: the lowest
    for voice in found:
        for language, priority in voice.pop("languages"):
            if language not in taken:
                first[language] = min(first.get(language, (100, "")), (priority, voice["id"]))
    for voice in found:
        voice["also"] = sorted(language for language, (_, best) in first.items() if best == voice["id"])
    return sorted(found, key=lambda voice: (voice["id"] != _FIRST, voice["id"]))


def _has_words(path: Path, data: Path) -> bool:
    """Whether the voice's dictionary is there: a few languages of the package lack theirs."""
    lines = _lines(path)
    language = (lines.get("language") or [[path.name]])[0][0].partition("-")[0]
    return (data / f"{(lines.get('dictionary') or [[language]])[0][0]}_dict").is_file()


def _voice(path: Path, speaker: str) -> dict[str, Any]:
    lines = _lines(path)
    languages = [(words[0].lower(), int(words[1]) if len(words) > 1 else 5) for words in lines.get("language", [])]
    own = {"en": "en-gb"}.get(path.name, path.name.lower())  # the file `en` is British, and calls itself so
    name = re.sub(r"\s*//.*", "", " ".join(lines.get("name", [[own]])[0]))
    language = own if own in {named for named, _ in languages} or not languages else languages[0][0]
    return {"id": own, "speaker": speaker, "language": language, "name": name, "gender": "male", "languages": languages}


def _variants(folder: Path) -> dict[str, str]:
    """The variants of a voice by name, and whether they sound like a woman or a man."""
    plain = [path for path in sorted(folder.iterdir()) if re.fullmatch(r"[A-Za-z0-9]+", path.name)]
    return {path.name: (_lines(path).get("gender") or [["male"]])[0][0].lower() for path in plain}


def _lines(path: Path) -> dict[str, list[list[str]]]:
    """A voice file: on each line a keyword and its words."""
    found: dict[str, list[list[str]]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        keyword, *words = line.split() or [""]
        if words:
            found.setdefault(keyword, []).append(words)
    return found
