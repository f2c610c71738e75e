"""espeak-ng, by its C interface (espeak-ng/speak_lib.h): the library and its data lie in the package espeakng-loader."""

from __future__ import annotations

import ctypes
import re
import threading
import unicodedata
from typing import Any

import espeakng_loader

from freehold.protocol.voices import Voice
from freehold.workers.speech.engine import Emit, EngineFailed
from freehold.workers.speech.pcm import Tempo

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: the calls come from within espeak_Synth
_PIECE = 60  # milliseconds of audio a call
_NEVER_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_UTF8, _END_PAUSE = 0x0001, 0x1000  # without espeakSSML and espeakPHONEMES: no tag and no bracket has a meaning
_IPA = 0x02  # espeakPHONEMES_IPA
_RATE = 1  # espeakRATE, in words a minute
_USUAL, _SLOWEST, _FASTEST = 160, 80, 700  # its own default, 175, is less well understood

_CONTROLS = dict.fromkeys(range(32), " ")

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_CLAUSE = re.compile(r"([.,:;!?…]+)(?=\s|$)|([。，、；：！？])|(\s[-–—]\s)")
_MARKS = {"…": ".", "。": ".", "，": ",", "、": ",", "；": ";", "：": ":", "！": "!", "？": "?"}
_SWITCH = re.compile(r"\([a-z-]+\)")  # espeak-ng says so where a word is of another language


class _Properties(ctypes.Structure):
    """espeak_VOICE: what a voice is asked to be."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


def _plain(text: str) -> bytes:
    """Without control characters, which begin commands: some crash the library."""
    return text.translate(_CONTROLS).encode("utf-8", "replace")


class Library:
    """The library has one state for the whole process, so one thread at a time is in it."""

    def __init__(self) -> None:
        self.c = ctypes.CDLL(espeakng_loader.get_library_path())
        self.c.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        ]
        self.c.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
        self.c.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.c.espeak_SetVoiceByProperties.argtypes = [ctypes.POINTER(_Properties)]
        data = espeakng_loader.get_data_path().encode()
        self.rate: int = self.c.espeak_Initialize(_SYNCHRONOUS, _PIECE, data, _NEVER_EXIT)
        if self.rate <= 0:
            raise EngineFailed("espeak-ng finds no data")
        self.lock = threading.Lock()


class Espeak:
    """Speaks. A voice's `speaker` is a file below the data's folder `lang`, with a variant behind a plus: "gmw/en-US+f3"."""

    longest = 300

    def __init__(self) -> None:
        self._library = Library()
        self.rate = self._library.rate
        self._emit: Emit = lambda piece: False
        self._callback = _Callback(self._take)  # kept: the library calls it for as long as it lives
        self._library.c.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice, speed: float, emit: Emit) -> None:
        raw = _plain(text)
        tempo = Tempo(self.rate, min(1.0, _USUAL * speed / _SLOWEST))
        with self._library.lock:
            self._set(str(voice.speaker), speed)
            self._emit = lambda piece: emit(tempo.feed(piece))
            try:
                done = self._library.c.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, _UTF8 | _END_PAUSE, None, None)
            finally:
                self._emit = lambda piece: False
        if done != 0:
            raise EngineFailed(f"espeak_Synth returned {done}")
        emit(tempo.end())

    def _set(self, speaker: str, speed: float) -> None:
        if self._library.c.espeak_SetVoiceByName(speaker.encode()) != 0:
            raise EngineFailed("espeak-ng does not have that voice")
        rate = round(min(_FASTEST, max(_SLOWEST, _USUAL * speed)))
        self._library.c.espeak_SetParameter(_RATE, rate, 0)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        """What the library calls with each piece; other than 0 ends the synthesis at once."""
        if count <= 0 or not samples:
            return 0
        return 0 if self._emit(ctypes.string_at(samples, 2 * count)) else 1


class Phonemes:
    """Text as the International Phonetic Alphabet, as voices of Piper, Kokoro, Kitten and Matcha were trained on it: a clause
    at a time, with the mark that ends it, letters and accents apart (Unicode's NFD)."""

    def __init__(self) -> None:
        self._library = Library()

    def of(self, text: str, language: str) -> str:
        """Raises EngineFailed for a language that espeak-ng does not have."""
        wanted = _Properties(languages=language.lower().encode())
        said = ""
        with self._library.lock:
            if self._library.c.espeak_SetVoiceByProperties(ctypes.byref(wanted)) != 0:
                raise EngineFailed("espeak-ng does not have that language")
            for clause, mark in _clauses(text):
                words = _SWITCH.sub("", self._clause(clause))
                if words:
                    said += f" {words}{mark}" if said else f"{words}{mark}"
        return unicodedata.normalize("NFD", said)

    def _clause(self, text: str) -> str:
        left = ctypes.c_char_p(_plain(text))
        said: list[str] = []
        while left.value is not None:  # the library moves it on, and at the end to nowhere
            said.append((self._library.c.espeak_TextToPhonemes(ctypes.byref(left), _UTF8, _IPA) or b"").decode())
        return " ".join(part.strip() for part in said if part.strip())


def _clauses(text: str) -> list[tuple[str, str]]:
    """The clauses of a text, each with its mark: one of . , : ; ! ? or none."""
    found, start = [], 0
    for match in _CLAUSE.finditer(text):
        mark = match[0].strip()[:1]
        found.append((text[start : match.start()], "," if match[3] else _MARKS.get(mark, mark)))
        start = match.end()
    return [*found, (text[start:], "")]
