"""The transcription worker as a process of its own, and sound in all forms to send it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import until
from tests.speech import HEARS


@contextlib.contextmanager
def hearing(data: Path, folder: Path, threads: int = 2, **options: Any) -> Iterator[Path]:
    """The socket of a worker with the starter model; `options` are added to its own."""
    store = Store(data)
    manifest = store.get(HEARS) if store.has(HEARS) else pull(store, HEARS, on_progress=lambda progress: None)
    with running(store.folder(manifest), {**manifest.options, **options}, folder, threads) as socket:
        yield socket


@contextlib.contextmanager
def running(model: Path, options: Mapping[str, Any], folder: Path, threads: int = 2) -> Iterator[Path]:
    """The socket of a worker with the model whose files lie there."""
    socket = folder / "worker.sock"
    config = {
        "name": "model",
        "socket": str(socket),
        "engine": "sherpa-onnx",
        "folder": str(model),
        "options": options,
        "threads": threads,
    }
    command = [
        sys.executable,
        "-m",
        "freehold.workers.transcription",
        "--parent",
        str(os.getpid()),
        "--config",
        json.dumps(config),
    ]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log) as process,
    ):
        try:
            until(lambda: socket.exists() or process.poll() is not None)
            assert process.poll() is None, (folder / "log").read_text()
            yield socket
        finally:
            process.kill()


def samples(wav: bytes, rate: int, codec: str = "pcm_s16le") -> np.ndarray:
    """A file's sound, mono, in that rate: samples, or bytes of another codec."""
    with av.open(io.BytesIO(wav)) as file:
        resampler = av.AudioResampler("s16", "mono", rate)
        frames = [each for frame in file.decode(audio=0) for each in resampler.resample(frame)] + resampler.resample(None)
    whole = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    if codec == "pcm_s16le":
        return whole
    encoder = av.CodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(whole.reshape(1, -1), "s16", "mono")
    frame.sample_rate = rate
    return np.frombuffer(b"".join(bytes(packet) for packet in encoder.encode(frame)), np.uint8)
