"""Audio formats, written as the audio comes: every encoder gives what it has after each piece."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import av

from freehold.workers.speech.pcm import Resampler, frame_of

RATE = 24_000  # samples a second, OpenAI's


@dataclass(frozen=True)
class Format:
    """A format by FFmpeg's names. `bit_rate` is in bits a second, 0 for codecs without one."""

    media_type: str
    muxer: str = ""
    codec: str = ""
    bit_rate: int = 0
    options: Mapping[str, str] = field(default_factory=dict)


FORMATS: Mapping[str, Format] = {
    "mp3": Format("audio/mpeg", "mp3", "libmp3lame", 64_000, {"write_xing": "0", "id3v2_version": "0"}),
    "opus": Format("audio/ogg", "ogg", "libopus", 32_000, {"page_duration": "20000"}),
    "aac": Format("audio/aac", "adts", "aac", 64_000),
    "flac": Format("audio/flac", "flac", "flac"),
    "wav": Format("audio/wav"),
    "pcm": Format("audio/pcm"),
    "ulaw": Format("audio/basic", "mulaw", "pcm_mulaw"),
    "alaw": Format("audio/x-alaw-basic", "alaw", "pcm_alaw"),
}


class Encoder(Protocol):
    def feed(self, pcm: bytes) -> bytes: ...

    def end(self) -> bytes: ...


def encoder(name: str, source: int, rate: int = RATE, bit_rate: int = 0) -> Encoder:
    """From mono audio of 16 bits at the rate `source` to a format of FORMATS."""
    kind = FORMATS[name]
    if not kind.muxer:
        return _Plain(source, rate, _wav_header(rate) if name == "wav" else b"")
    return _Muxed(kind, source, rate, bit_rate)


class _Plain:
    """Samples as they are, behind a header."""

    def __init__(self, source: int, rate: int, header: bytes):
        self._resampler = Resampler(source, rate)
        self._header = header

    def feed(self, pcm: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + self._resampler.feed(pcm)

    def end(self) -> bytes:
        return self._header + self._resampler.end()


def _wav_header(rate: int) -> bytes:
    """Of a file whose length is not known yet: both lengths are the greatest there are, which decoders take for "all"."""
    lengthless = 0xFFFFFFFF
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", lengthless, b"WAVE") + form + struct.pack("<4sI", b"data", lengthless)


class _Sink:
    """A file that is only written: what cannot seek is written in order."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


class _Muxed:
    def __init__(self, kind: Format, source: int, rate: int, bit_rate: int):
        self._sink = _Sink()
        self._rate = rate
        self._resampler = Resampler(source, rate)
        self._container: Any = av.open(self._sink, "w", format=kind.muxer, options=dict(kind.options))
        stream: Any = self._container.add_stream(kind.codec, rate=rate)
        self._stream = stream
        self._stream.layout = "mono"
        if kind.bit_rate:
            self._stream.bit_rate = bit_rate or kind.bit_rate
        self._at = 0

    def feed(self, pcm: bytes) -> bytes:
        self._encode(self._resampler.feed(pcm))
        return self._sink.take()

    def end(self) -> bytes:
        self._encode(self._resampler.end())
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()
        return self._sink.take()

    def _encode(self, pcm: bytes) -> None:
        if not pcm:
            return
        frame = frame_of(pcm, self._rate, self._at)
        self._at += frame.samples
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
