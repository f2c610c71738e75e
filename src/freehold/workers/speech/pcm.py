"""Audio between engine and encoder: mono, 16 bits a sample, little-endian, in pieces of any length."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import av
import numpy as np


def frame_of(pcm: bytes, rate: int, at: int) -> av.AudioFrame:
    """A piece as PyAV wants it; `at` is the number of samples before it."""
    frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, np.int16)[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts = rate, at
    return frame


def bytes_of(frames: Iterable[av.AudioFrame]) -> bytes:
    return b"".join(frame.to_ndarray().tobytes() for frame in frames)


class Resampler:
    """From one rate to another, without a seam between the pieces."""

    def __init__(self, source: int, target: int):
        self._source = source
        self._resampler = None if source == target else av.AudioResampler(format="s16", layout="mono", rate=target)
        self._at = 0

    def feed(self, pcm: bytes) -> bytes:
        if self._resampler is None or not pcm:
            return pcm
        frame = frame_of(pcm, self._source, self._at)
        self._at += frame.samples
        return bytes_of(self._resampler.resample(frame))

    def end(self) -> bytes:
        """What is still inside."""
        return b"" if self._resampler is None or not self._at else bytes_of(self._resampler.resample(None))


class Tempo:
    """Slower by a factor (0.5 to 1) at the same pitch, by FFmpeg's filter atempo."""

    def __init__(self, rate: int, factor: float):
        self._rate = rate
        self._at = 0
        self._graph: av.filter.Graph | None = None
        if factor < 1:
            self._graph = av.filter.Graph()
            source = self._graph.add_abuffer(sample_rate=rate, format="s16", layout="mono")
            stretch = self._graph.add("atempo", f"{factor:.4f}")
            shape = self._graph.add("aformat", "sample_fmts=s16:channel_layouts=mono")
            sink = self._graph.add("abuffersink")
            source.link_to(stretch)
            stretch.link_to(shape)
            shape.link_to(sink)
            self._graph.configure()

    def feed(self, pcm: bytes) -> bytes:
        if self._graph is None or not pcm:
            return pcm
        frame = frame_of(pcm, self._rate, self._at)
        self._at += frame.samples
        self._graph.push(frame)
        return self._pulled()

    def end(self) -> bytes:
        """What is still inside."""
        if self._graph is None or not self._at:
            return b""
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> bytes:
        found: list[Any] = []
        while self._graph is not None:
            try:
                found.append(self._graph.pull())
            except (av.BlockingIOError, av.EOFError):
                break
        return bytes_of(found)
