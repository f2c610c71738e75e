"""espeak-ng, by its C interface (espeak-ng/speak_lib.h): the library and its data lie in the package espeakng-loader."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import espeakng_loader

from freehold.workers.speech.engine import Emit, EngineFailed
from freehold.workers.speech.pcm import Tempo

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: the calls come from within espeak_Synth
_PIECE = 60  # milliseconds of audio a call
_NEVER_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_UTF8, _END_PAUSE = 0x0001, 0x1000  # without espeakSSML and espeakPHONEMES: no tag and no bracket has a meaning
_RATE = 1  # espeakRATE, in words a minute
_USUAL, _SLOWEST, _FASTEST = 175, 80, 700

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library has one state for the whole process, so one text is spoken at a time."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        ]
        data = espeakng_loader.get_data_path().encode()
        self.rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, _PIECE, data, _NEVER_EXIT)
        if self.rate <= 0:
            raise EngineFailed("espeak-ng finds no data")
        self._lock = threading.Lock()
        self._emit: Emit = lambda piece: False
        self._callback = _Callback(self._take)  # kept: the library calls it for as long as it lives
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, speaker: Any, speed: float, emit: Emit) -> None:
        """`speaker` is a voice file below the data's folder `lang`, with a variant behind a plus: "gmw/en-US+f3"."""
        raw = text.replace("\0", " ").encode("utf-8", "replace")
        tempo = Tempo(self.rate, min(1.0, _USUAL * speed / _SLOWEST))
        with self._lock:
            self._set(str(speaker), speed)
            self._emit = lambda piece: emit(tempo.feed(piece))
            try:
                done = self._library.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, _UTF8 | _END_PAUSE, None, None)
            finally:
                self._emit = lambda piece: False
        if done != 0:
            raise EngineFailed(f"espeak_Synth returned {done}")
        emit(tempo.end())

    def _set(self, speaker: str, speed: float) -> None:
        if self._library.espeak_SetVoiceByName(speaker.encode()) != 0:
            raise EngineFailed("espeak-ng does not have that voice")
        rate = round(min(_FASTEST, max(_SLOWEST, _USUAL * speed)))
        self._library.espeak_SetParameter(_RATE, rate, 0)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        """What the library calls with each piece; other than 0 ends the synthesis at once."""
        if count <= 0 or not samples:
            return 0
        return 0 if self._emit(ctypes.string_at(samples, 2 * count)) else 1
