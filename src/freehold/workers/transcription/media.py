"""An audio file as samples: read from a decoder in a process of its own, as fast as they are wanted."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from freehold.workers.serve import Refused
from freehold.workers.transcription.decode import RATE, REFUSED
from freehold.workers.transcription.vad import Samples

_PROGRAM = ("-m", "freehold.workers.transcription.decode")
_STEP = RATE  # samples at a time
_MIB = 512  # memory for a decoder
_SILENT = 60.0  # seconds without a sample after which it hangs


@dataclass(frozen=True)
class Audio:
    """`claimed` is how many seconds the file says it has; None where it does not, and never to be trusted."""

    claimed: float | None
    samples: Iterator[Samples]


@contextlib.contextmanager
def decoded(file: BinaryIO, longest: float) -> Iterator[Audio]:
    """The samples of a file, a second at a time, for as long as the block runs; `longest` is in seconds.

    Raises Refused here, or from the samples, for a file that is no audio, damaged, or too long.
    """
    file.seek(0)
    with tempfile.TemporaryFile() as complaint:
        process = subprocess.Popen(
            [sys.executable, "-P", *_PROGRAM, str(longest), str(_MIB)],
            stdin=file.fileno(),
            stdout=subprocess.PIPE,
            stderr=complaint,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            reader = _Reader(process, process.stdout.fileno(), complaint)
            yield Audio(reader.head(), reader.samples())
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


class _Reader:
    def __init__(self, process: subprocess.Popen[bytes], pipe: int, complaint: BinaryIO):
        self._process = process
        self._pipe = pipe
        self._complaint = complaint
        self._held = b""

    def head(self) -> float | None:
        while b"\n" not in self._held:
            if not self._more():
                raise self._refused()
        line, _, self._held = self._held.partition(b"\n")
        return json.loads(line)["duration"]  # type: ignore[no-any-return]

    def samples(self) -> Iterator[Samples]:
        open_ = True
        while open_:
            while len(self._held) < 2 * _STEP and open_:
                open_ = self._more()
            piece, self._held = self._held[: 2 * _STEP], self._held[2 * _STEP :]
            if len(piece) >= 2:
                yield np.frombuffer(piece[: len(piece) // 2 * 2], np.int16).astype(np.float32) / np.float32(32768)
        if self._process.wait() != 0:
            raise self._refused()

    def _more(self) -> bool:
        ready, _, _ = select.select([self._pipe], [], [], _SILENT)
        if not ready:
            raise Refused("The audio could not be decoded in time.", param="file", code="invalid_audio")
        piece = os.read(self._pipe, 1 << 16)
        self._held += piece
        return bool(piece)

    def _refused(self) -> Refused:
        """What the decoder says, or that it ended without a word, which a file can bring about."""
        if self._process.wait() == REFUSED:
            self._complaint.seek(0)
            said = json.loads(self._complaint.readlines()[-1])
            return Refused(said["message"], param="file", code=said["code"], status=said["status"])
        return Refused("The decoder ended over this file: it is damaged.", param="file", code="invalid_audio")
