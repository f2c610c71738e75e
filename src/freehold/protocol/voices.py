"""The voices of a speech model: what they are called, which one a name means, and which scripts they read."""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from freehold.errors import InvalidRequest

# OpenAI's voices, and whether they sound like a woman or a man.
OPENAI: Mapping[str, str] = MappingProxyType(
    {
        "alloy": "female",
        "ash": "male",
        "ballad": "male",
        "cedar": "male",
        "coral": "female",
        "echo": "male",
        "fable": "male",
        "marin": "female",
        "nova": "female",
        "onyx": "male",
        "sage": "female",
        "shimmer": "female",
        "verse": "male",
    }
)
_SHOWN = 8  # names in an error


@dataclass(frozen=True)
class Voice:
    """`speaker` is the engine's own name of it; `also` are further names, such as languages it is the first choice for."""

    id: str
    speaker: str | int
    language: str = ""
    name: str = ""
    gender: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Voices:
    """All voices of one model, its usual one first. `variants` may follow a voice's name behind a plus (espeak-ng); `named`
    says which one each of OpenAI's names means, where the model's makers or its catalogue entry have said so."""

    all: tuple[Voice, ...]
    variants: Mapping[str, str]
    named: Mapping[str, str]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Voices:
        """From a manifest's options. A model that names no voices has one, "default"."""
        given = options.get("voices") or [{"id": "default", "speaker": 0}]
        voices = tuple(Voice(**{**voice, "also": tuple(voice.get("also", ()))}) for voice in given)
        return cls(voices, options.get("voice_variants") or {}, options.get("openai_voices") or {})

    def find(self, name: str) -> Voice:
        """The voice of a name, whether the model's own or OpenAI's. Raises InvalidRequest, naming some that there are."""
        plain = name.strip().lower()
        found = self._own(name) or self._own(plain) or self._own(plain.replace("_", "-")) or self._openai(plain)
        if found is None:
            raise self._unknown(name)
        return found

    def _own(self, name: str) -> Voice | None:
        base, plus, variant = name.partition("+")
        if plus and variant not in self.variants:
            return None
        for voice in self.all:
            if base == voice.id or base in voice.also:
                if not plus:
                    return voice
                gender = self.variants[variant]
                return Voice(f"{voice.id}+{variant}", f"{voice.speaker}+{variant}", voice.language, voice.name, gender)
        return None

    def _openai(self, name: str) -> Voice | None:
        """One of OpenAI's voices: what the table says, the model's own of that name, else its voices of that sex in turn."""
        if name not in OPENAI:
            return None
        if name in self.named:
            return self._own(self.named[name])
        for voice in self.all:
            if voice.id.lower().endswith(("_" + name, "-" + name)):
                return voice
        alike = [voice for voice in self.all if voice.gender == OPENAI[name]] or list(self.all)
        kin = [other for other in OPENAI if OPENAI[other] == OPENAI[name]]
        return alike[kin.index(name) % len(alike)]

    def openai_names(self, voice: Voice) -> list[str]:
        """OpenAI's voices that this one answers to, with a variant or without."""
        return [name for name in OPENAI if (found := self._openai(name)) and found.id.partition("+")[0] == voice.id]

    def _unknown(self, name: str) -> InvalidRequest:
        own = [voice.id for voice in self.all]
        near = difflib.get_close_matches(name.lower()[:80], [*own, *OPENAI], n=3, cutoff=0.6)
        some = list(dict.fromkeys([*near, *OPENAI, *own]))[:_SHOWN]
        return InvalidRequest(
            f"There is no voice {name[:80]!r}. There are, among others: {', '.join(some)}. GET /v1/audio/voices lists all.",
            param="voice",
            code="invalid_value",
        )


# Scripts by the first word of their characters' Unicode names, for the languages that are not written in Latin letters.
_SCRIPTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("be", "bg", "mk", "ru", "sr", "uk", "kk", "ky", "tt", "ba", "cv"), ("CYRILLIC",)),
        **dict.fromkeys(("ar", "fa", "ur", "ug", "sd", "ku"), ("ARABIC",)),
        **dict.fromkeys(("hi", "mr", "ne", "kok"), ("DEVANAGARI",)),
        **dict.fromkeys(("bn", "as", "bpy"), ("BENGALI",)),
        **dict.fromkeys(("am", "ti"), ("ETHIOPIC",)),
        **dict.fromkeys(("el", "grc"), ("GREEK",)),
        **dict.fromkeys(("hy", "hyw"), ("ARMENIAN",)),
        **dict.fromkeys(("zh", "cmn", "yue", "hak"), ("CJK", "BOPOMOFO")),
        "ja": ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
        "ko": ("HANGUL",),
        "he": ("HEBREW",),
        "th": ("THAI",),
        "ka": ("GEORGIAN",),
        "my": ("MYANMAR",),
        "shn": ("MYANMAR",),
        "kn": ("KANNADA",),
        "te": ("TELUGU",),
        "ta": ("TAMIL",),
        "ml": ("MALAYALAM",),
        "gu": ("GUJARATI",),
        "pa": ("GURMUKHI",),
        "or": ("ORIYA",),
        "si": ("SINHALA",),
        "chr": ("CHEROKEE",),
    }
)
_LATIN = ("LATIN", "FULLWIDTH", "FEMININE", "MASCULINE")


def check_words(text: str) -> None:
    """Raises InvalidRequest for a text in which there is nothing to say: no letter, no digit, no sign that is read aloud."""
    if not any(letter.isalnum() or letter in "&%@+=" or unicodedata.category(letter) == "Sc" for letter in set(text)):
        raise InvalidRequest("The input has no words to speak.", param="input", code="invalid_value")


def check_script(text: str, voice: Voice, voices: Sequence[Voice] = ()) -> None:
    """Raises InvalidRequest when most letters of a text are of scripts that the voice's language is not written in: it would
    spell them, or be silent. Latin letters are read by all voices. `voices` are those that may be named instead."""
    if text.isascii() or not voice.language:
        return
    letters: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if letter.isalpha():
            letters[unicodedata.name(letter, "UNKNOWN").partition(" ")[0]] += count
    reads = (*_LATIN, *_SCRIPTS.get(voice.language.partition("-")[0], ()))
    foreign = {script: count for script, count in letters.items() if script not in reads}
    if 2 * sum(foreign.values()) <= sum(letters.values()):
        return
    script = max(foreign, key=lambda name: foreign[name])
    shown = {"CJK": "Chinese"}.get(script, script.capitalize())
    able = [other.id for other in voices if script in _SCRIPTS.get(other.language.partition("-")[0], ())]
    hint = f" Voices that can: {', '.join(able[:_SHOWN])}." if able else " No voice of this model can."
    if voice.language == "ja":
        hint = " Write it in kana."
    raise InvalidRequest(
        f"The voice {voice.id!r} ({voice.language}) cannot read {shown} letters, which most of the input is in.{hint}",
        param="voice",
        code="invalid_value",
    )
