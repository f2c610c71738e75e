"""Where speech is: Silero's detector, which ships with this package, run by sherpa-onnx."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.workers.transcription.decode import RATE

Samples = NDArray[np.float32]
MODEL = files("freehold.workers.transcription") / "silero_vad.onnx"
_LONGEST = 20.0  # seconds; then the detector looks for shorter pauses to end at
_LAST = 28.0  # seconds; then speech is cut where it is
_SHORTEST = 0.1  # seconds; a click is no speech
_BUFFER = 60.0  # seconds
_WINDOW = 512  # samples that the model looks at; of a longer piece, sherpa-onnx takes all for speech when some of it is


@dataclass(frozen=True)
class Sensitivity:
    """When speech begins and ends: the probability from which it is speech, the silence that ends it and the sound that is
    added before it (seconds)."""

    threshold: float = 0.5
    silence: float = 0.3
    padding: float = 0.25


@dataclass(frozen=True)
class Span:
    """Speech from sample `start` to `end`, counted from the beginning; `speaker` says whose, where that is known."""

    start: int
    end: int
    speaker: str = ""


class Detector:
    """Finds speech in samples that come piece by piece. Not for several threads."""

    def __init__(self, sensitivity: Sensitivity):
        import sherpa_onnx

        config = sherpa_onnx.VadModelConfig()
        config.silero_vad.model = str(MODEL)
        config.silero_vad.threshold = sensitivity.threshold
        config.silero_vad.min_silence_duration = sensitivity.silence
        config.silero_vad.min_speech_duration = _SHORTEST
        config.silero_vad.max_speech_duration = _LONGEST
        config.silero_vad.window_size = _WINDOW
        config.sample_rate = RATE
        self._rest = np.zeros(0, np.float32)
        self._base = 0  # the number of the first sample since it was restarted
        self._fed = 0  # samples since then
        self._quiet = 0  # those of them until it was last quiet
        self._vad: Any = sherpa_onnx.VoiceActivityDetector(config, buffer_size_in_seconds=_BUFFER)

    def feed(self, samples: Samples) -> Iterator[Span]:
        """The speech that has ended in these samples."""
        samples = np.concatenate((self._rest, samples))
        whole = len(samples) - len(samples) % _WINDOW
        self._rest = samples[whole:]
        for start in range(0, whole, _WINDOW):
            self._vad.accept_waveform(samples[start : start + _WINDOW])
            self._fed += _WINDOW
            yield from self._ended()
            if not self.speaking:
                self._quiet = self._fed
            elif self._fed - self._quiet >= _LAST * RATE:
                self._vad.flush()
                yield from self._ended()
                self._begin(self._base + self._fed)

    def end(self) -> Iterator[Span]:
        """The speech that the end of the audio ends."""
        if len(self._rest):
            self._vad.accept_waveform(np.pad(self._rest, (0, _WINDOW - len(self._rest))))
        self._vad.flush()
        yield from self._ended()

    def restart(self, at: int) -> None:
        """Forgets all; the next sample is number `at`."""
        self._rest = np.zeros(0, np.float32)
        self._begin(at)

    @property
    def speaking(self) -> bool:
        """Whether there is speech at the end of what was fed."""
        return bool(self._vad.is_speech_detected())

    def _begin(self, at: int) -> None:
        self._vad.reset()
        self._base, self._fed, self._quiet = at, 0, 0

    def _ended(self) -> Iterator[Span]:
        while not self._vad.empty():
            found = self._vad.front
            yield Span(self._base + found.start, self._base + found.start + len(found.samples))
            self._vad.pop()
