"""Natural voices on sherpa-onnx: Piper, Kokoro, Kitten and Matcha models, each a folder with its files.

sherpa-onnx has no phonemiser since version 2: it is given phonemes (espeak-ng's) for voices of languages that have them, and
the text for those that come with a lexicon (Chinese).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sherpa_onnx

from freehold.protocol.voices import Voice
from freehold.workers.speech.engine import Emit, EngineFailed
from freehold.workers.speech.espeak import Phonemes

_BY_LEXICON = ("zh", "cmn", "yue")
_GAP = 0.15  # seconds between two sentences


class Sherpa:
    """A voice's `speaker` is the number of one of the model's speakers."""

    longest = 150

    def __init__(self, folder: Path, family: str, threads: int):
        model = sherpa_onnx.OfflineTtsModelConfig(**_MODELS[family](folder), num_threads=threads, provider="cpu")
        rules = ",".join(map(str, sorted(folder.glob("*.fst"))))
        self._tts = sherpa_onnx.OfflineTts(sherpa_onnx.OfflineTtsConfig(model=model, rule_fsts=rules))
        self.rate: int = self._tts.sample_rate
        self._speakers = max(1, self._tts.num_speakers)
        self._phonemes = Phonemes()
        self._by_lexicon = _BY_LEXICON if _lexicon(folder) else ()

    def speak(self, text: str, voice: Voice, speed: float, emit: Emit) -> None:
        asked = sherpa_onnx.GenerationConfig()
        asked.sid, asked.speed = int(voice.speaker), speed
        if asked.sid >= self._speakers:
            raise EngineFailed("the model has no such speaker")
        if voice.language.partition("-")[0] not in self._by_lexicon:
            phonemes = self._phonemes.of(text, voice.language)
            if not phonemes:
                return
            asked.phoneme_codepoints = [list(map(ord, phonemes))]
            text = ""
        answers: list[bool] = []

        def take(samples: Any, progress: float) -> int:
            answers.append(emit(_pcm(samples)))
            return int(answers[-1])

        audio = self._tts.generate(text, asked, take)
        if not answers:  # Kitten models give all of it at the end
            answers.append(emit(_pcm(audio.samples)))
        if all(answers):
            emit(bytes(2 * round(self.rate * _GAP / speed)))


def _pcm(samples: Any) -> bytes:
    """Numbers from -1 to 1 as 16 bits each; what is no number is silence."""
    loud = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    return (np.clip(loud, -1, 1) * 32767).astype("<i2").tobytes()


def _the(folder: Path, pattern: str) -> str:
    """The first file of that kind. Raises EngineFailed when there is none."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise EngineFailed(f"the model has no file {pattern}")
    return str(found[0])


def _lexicon(folder: Path) -> str:
    return ",".join(map(str, sorted(folder.glob("lexicon*.txt"))))


def _piper(folder: Path) -> dict[str, Any]:
    return {"vits": sherpa_onnx.OfflineTtsVitsModelConfig(model=_the(folder, "*.onnx"), tokens=_the(folder, "tokens.txt"))}


def _kokoro(folder: Path) -> dict[str, Any]:
    files = {"model": _the(folder, "*.onnx"), "voices": _the(folder, "voices.bin"), "tokens": _the(folder, "tokens.txt")}
    return {"kokoro": sherpa_onnx.OfflineTtsKokoroModelConfig(**files, lexicon=_lexicon(folder))}


def _kitten(folder: Path) -> dict[str, Any]:
    files = {"model": _the(folder, "*.onnx"), "voices": _the(folder, "voices.bin"), "tokens": _the(folder, "tokens.txt")}
    return {"kitten": sherpa_onnx.OfflineTtsKittenModelConfig(**files)}


def _matcha(folder: Path) -> dict[str, Any]:
    files = {"acoustic_model": _the(folder, "model*.onnx"), "tokens": _the(folder, "tokens.txt")}
    vocoder = _the(folder, "[vh][oi][cf]*.onnx")  # vocos-… or hifigan_…
    return {"matcha": sherpa_onnx.OfflineTtsMatchaModelConfig(**files, vocoder=vocoder, lexicon=_lexicon(folder))}


_MODELS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "piper": _piper,
    "kokoro": _kokoro,
    "kitten": _kitten,
    "matcha": _matcha,
}


def loaded(folder: str | None, family: str, threads: int) -> Sherpa:
    """A model. Raises EngineFailed for a family that this version does not know, and for missing files."""
    if folder is None or family not in _MODELS:
        raise EngineFailed(f"no voice model of the family {family[:40]!r} is known")
    return Sherpa(Path(folder), family, threads)
