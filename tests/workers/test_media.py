"""Files of all kinds become samples, and bad ones an answer: in bounded memory, at the cost of one request."""

from __future__ import annotations

import io
import os
import struct
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from freehold.workers.serve import Refused
from freehold.workers.transcription import media
from freehold.workers.transcription.decode import RATE

SECONDS = 3.0


def heard(data: bytes, tmp_path: Path, longest: float = 60.0) -> np.ndarray:
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file, media.decoded(file, longest) as audio:
        return np.concatenate(list(audio.samples))


def refusal(data: bytes, tmp_path: Path, longest: float = 60.0) -> Refused:
    with pytest.raises(Refused) as caught:
        heard(data, tmp_path, longest)
    assert caught.value.param == "file"
    return caught.value


def tone(rate: int, channels: int = 1) -> np.ndarray:
    """440 Hz at a quarter of full scale, in s16."""
    wave = 8_000 * np.sin(2 * np.pi * 440 * np.arange(int(SECONDS * rate)) / rate)
    return np.repeat(wave.astype(np.int16)[None, :], channels, axis=0).T.reshape(1, -1)


def encoded(container: str, codec: str, rate: int = 48_000, layout: str = "mono") -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(tone(rate, 2 if layout == "stereo" else 1), "s16", layout)
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return sink.getvalue()


def wav(data: bytes = b"", rate: int = RATE, channels: int = 1, bits: int = 16, claim: int | None = None) -> bytes:
    size = len(data) if claim is None else claim
    width = min(65_535, channels * bits // 8)
    head = struct.pack("<HHIIHH", 1, channels, rate, min(2**32 - 1, rate * width), width, bits)
    riff = b"RIFF" + struct.pack("<I", min(2**32 - 1, 36 + size)) + b"WAVEfmt \x10\0\0\0"
    return riff + head + b"data" + struct.pack("<I", size) + data


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("mp3", "libmp3lame", 44_100, "stereo"),
        ("mp3", "libmp3lame", 8_000, "mono"),
        ("ogg", "libopus", 48_000, "mono"),
        ("webm", "libopus", 48_000, "stereo"),
        ("matroska", "libopus", 48_000, "stereo"),
        ("flac", "flac", 96_000, "stereo"),
        ("mp4", "aac", 44_100, "stereo"),
        ("adts", "aac", 22_050, "mono"),
        ("mov", "alac", 44_100, "mono"),
        ("mpegts", "aac", 44_100, "stereo"),
        ("wav", "pcm_s16le", 8_000, "mono"),
        ("wav", "pcm_mulaw", 8_000, "mono"),
        ("wav", "pcm_s24le", 48_000, "stereo"),
        ("aiff", "pcm_s16be", 11_025, "mono"),
    ],
)
def test_a_file_of_any_kind_becomes_16_khz_of_one_channel(
    tmp_path: Path, container: str, codec: str, rate: int, layout: str
) -> None:
    samples = heard(encoded(container, codec, rate, layout), tmp_path)
    assert abs(len(samples) / RATE - SECONDS) < 0.15
    middle = samples[RATE : 2 * RATE]
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    assert 0.15 < np.abs(middle).max() < 0.35


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 10_000,
        b"This is no sound. " * 1000,
        b"RIFF",
        wav(),
        b"\xff\xfb\x90" * 4,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"%PDF-1.7\n" + bytes(1000),
        b"PK\x03\x04" + bytes(1000),
    ],
    ids=["empty", "zeros", "text", "short", "no samples", "mp3 headers", "hls", "concat", "sdp", "png", "pdf", "zip"],
)
def test_what_is_no_audio_is_refused(tmp_path: Path, data: bytes) -> None:
    assert refusal(data, tmp_path).code == "invalid_audio"


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for packet in (*stream.encode(av.VideoFrame(64, 64, "yuv420p")), *stream.encode(None)):
            file.mux(packet)
    assert "no audio" in refusal(sink.getvalue(), tmp_path).message


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (wav(bytes(4000), channels=65_535, bits=8), "no audio"),
        (wav(bytes(4000), channels=100, bits=8), "channels"),
        (wav(bytes(4000), rate=1), "samples a second"),
        (wav(bytes(4000), rate=2_000_000_000), "samples a second"),
    ],
    ids=["65,535 channels", "100 channels", "1 Hz", "2 GHz"],
)
def test_sound_beyond_all_bounds_is_refused(tmp_path: Path, data: bytes, word: str) -> None:
    message = refusal(data, tmp_path).message
    assert word in message or "damaged" in message


def test_audio_that_is_too_long_is_refused_whatever_it_claims(tmp_path: Path) -> None:
    error = refusal(encoded("flac", "flac", 8_000), tmp_path, 2.0)
    assert (error.status, error.code) == (413, "audio_too_long")


def test_a_claim_of_gigabytes_costs_what_is_there(tmp_path: Path) -> None:
    samples = heard(wav(bytes(2 * RATE), claim=2**32 - 1), tmp_path)
    assert len(samples) == RATE


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("ogg", "libopus"), ("flac", "flac"), ("wav", "pcm_s16le")]
)
def test_what_is_there_of_a_truncated_file_is_heard(tmp_path: Path, container: str, codec: str) -> None:
    data = encoded(container, codec)
    samples = heard(data[: len(data) // 2], tmp_path)
    assert 0.2 * SECONDS < len(samples) / RATE < 0.8 * SECONDS


def test_a_truncated_film_without_its_index_is_refused(tmp_path: Path) -> None:
    data = encoded("mp4", "aac")
    assert refusal(data[: len(data) // 2], tmp_path).code == "invalid_audio"


@pytest.mark.parametrize("container", ["mp3", "ogg", "flac", "mp4", "webm", "wav"])
def test_noise_in_a_file_is_heard_or_refused_and_never_more(tmp_path: Path, container: str) -> None:
    """Bytes that are wrong at random places."""
    codec = {"mp3": "libmp3lame", "flac": "flac", "mp4": "aac", "wav": "pcm_s16le"}.get(container, "libopus")
    data, numbers = encoded(container, codec), np.random.default_rng(1)
    for count in (10, 1000):
        hurt = np.frombuffer(data, np.uint8).copy()
        places = numbers.integers(0, len(hurt), count)
        hurt[places] = numbers.integers(0, 256, count)
        try:
            assert len(heard(hurt.tobytes(), tmp_path)) <= 60 * RATE
        except Refused as error:
            assert error.status in (400, 413)


def test_a_decoder_that_dies_is_one_refused_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_PROGRAM", ("-c", "import os; os.kill(os.getpid(), 11)"))
    assert "damaged" in refusal(wav(bytes(32_000)), tmp_path).message


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_PROGRAM", ("-c", "import time; time.sleep(600)"))
    monkeypatch.setattr(media, "_SILENT", 0.5)
    assert "in time" in refusal(wav(bytes(32_000)), tmp_path).message


def test_a_decoder_that_nobody_listens_to_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(wav(bytes(2 * RATE * 600)))
    others = children()  # servers that other tests share
    with path.open("rb") as file, media.decoded(file, 3600) as audio:
        next(audio.samples)
        running = children() - others
    assert running
    assert not running & children()


def children() -> set[str]:
    """The ids of this process's children."""
    found = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False)
    return {line.split()[0] for line in found.stdout.splitlines() if "python" in line}
