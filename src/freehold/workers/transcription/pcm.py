"""Bare samples as a telephone or a browser sends them, at 16 kHz."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.vad import Samples


class Stream:
    """Turns bytes of one channel into samples, in pieces of any size. `rate` is samples a second."""

    FORMATS: ClassVar[tuple[str, ...]] = ("pcm16", "g711_ulaw", "g711_alaw")

    def __init__(self, rate: int, form: str):
        import av

        self.rate, self.form = rate, form
        self._rest = b""
        self._table = {"g711_ulaw": _ULAW, "g711_alaw": _ALAW}.get(form)
        self._frames = av.AudioFrame
        self._resampler: Any = av.AudioResampler("s16", "mono", RATE) if rate != RATE else None

    def samples(self, data: bytes) -> Samples:
        if self._table is not None:
            return self._resampled(self._table[np.frombuffer(data, np.uint8)])
        data = self._rest + data
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        return self._resampled(np.frombuffer(data[:whole], "<i2"))

    def _resampled(self, samples: Any) -> Samples:
        if self._resampler is not None and len(samples):
            frame = self._frames.from_ndarray(np.ascontiguousarray(samples, np.int16).reshape(1, -1), "s16", "mono")
            frame.sample_rate = self.rate
            frames = self._resampler.resample(frame)
            samples = np.concatenate([each.to_ndarray()[0] for each in frames] or [np.zeros(0, np.int16)])
        heard: Samples = samples.astype(np.float32) / np.float32(32768)
        return heard


def _ulaw() -> Any:
    """G.711 µ-law: one byte a sample, inverted; sign, three bits of exponent, four of mantissa; a bias of 132."""
    byte = ~np.arange(256, dtype=np.uint8)
    size = (((byte & 15).astype(np.int32) << 3) + 132 << ((byte >> 4) & 7)) - 132
    return np.where(byte & 128, -size, size).astype(np.int16)


def _alaw() -> Any:
    """G.711 A-law: every second bit inverted; sign, three bits of exponent, four of mantissa."""
    byte = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((byte >> 4) & 7).astype(np.int32), (byte & 15).astype(np.int32)
    size = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0))
    return np.where(byte & 128, size, -size).astype(np.int16)


_ULAW, _ALAW = _ulaw(), _alaw()
