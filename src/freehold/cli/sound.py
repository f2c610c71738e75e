"""Sound for the command line: microphone and speaker through the programs that are there, and WAV files.

All of it is PCM: 16 bits, one channel, 24,000 samples a second.
"""

from __future__ import annotations

import array
import contextlib
import queue
import shutil
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

from freehold.errors import OperatorError

RATE = 24_000
_PIECE = 2 * RATE // 25  # bytes: 40 ms
_LONGEST = 15 * 60  # seconds of a file
_RAW = ("-t", "raw", "-f", "S16_LE", "-r", str(RATE), "-c", "1")
_SOX = ("-q", "-t", "raw", "-b", "16", "-e", "signed-integer", "-r", str(RATE), "-c", "1")
_PULSE = ("--raw", "--format=s16le", f"--rate={RATE}", "--channels=1")
_MICROPHONE = {"darwin": ("-f", "avfoundation", "-i", ":default")}.get(sys.platform, ("-f", "alsa", "-i", "default"))
_RECORDERS: Sequence[Sequence[str]] = (
    ("arecord", "-q", *_RAW),
    ("parec", *_PULSE, "--latency-msec=40"),
    ("rec", *_SOX, "-"),
    ("ffmpeg", "-v", "error", *_MICROPHONE, "-f", "s16le", "-ar", str(RATE), "-ac", "1", "-"),
)
_PLAYERS: Sequence[Sequence[str]] = (
    ("aplay", "-q", *_RAW),
    ("paplay", *_PULSE),
    ("play", *_SOX, "-"),
    ("ffplay", "-v", "error", "-nodisp", "-autoexit", "-f", "s16le", "-ar", str(RATE), "-ch_layout", "mono", "-i", "-"),
)


class NoSound(OperatorError):
    """There is no microphone or no speaker that could be used, or a file is not what it should be."""


def recorder() -> Sequence[str]:
    """The command that listens. Raises NoSound."""
    return _found(_RECORDERS, "listens to a microphone")


def player() -> Sequence[str]:
    """The command that plays. Raises NoSound."""
    return _found(_PLAYERS, "plays sound")


def _found(commands: Sequence[Sequence[str]], does: str) -> Sequence[str]:
    for command in commands:
        if shutil.which(command[0]):
            return command
    names = ", ".join(command[0] for command in commands)
    raise NoSound(
        f"No program is installed that {does} ({names}).",
        "Install one, such as alsa-utils or sox; `--file in.wav -o out.wav` does a turn from files.",
    )


@contextlib.contextmanager
def microphone() -> Iterator[Iterator[bytes]]:
    """Pieces of what is heard, until the program ends. Raises NoSound when it hears nothing at all."""
    command = recorder()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None  # noqa: S101 - a pipe
    assert child.stderr is not None  # noqa: S101
    stdout, stderr = child.stdout, child.stderr

    def pieces() -> Iterator[bytes]:
        heard = False
        while piece := stdout.read(_PIECE):
            heard = True
            yield piece
        if not heard:
            said = stderr.read(500).decode(errors="replace").strip() or f"it ended with {child.wait()}"
            raise NoSound(f"{command[0]} hears nothing: {said}.", "Is a microphone connected? --file takes a recording.")

    try:
        yield pieces()
    finally:
        _end(child)
        stdout.close()
        stderr.close()


class Speaker:
    """Plays what it is given, in a program of its own, without keeping the caller waiting for it."""

    def __init__(self) -> None:
        self._command = player()
        self._playing: _Playing | None = None

    def play(self, audio: bytes) -> None:
        if self._playing is None:
            self._playing = _Playing(self._command)
        self._playing.add(audio)

    @property
    def played(self) -> int:
        """Milliseconds of what was given since the last silence that have been heard."""
        return self._playing.played if self._playing else 0

    @property
    def playing(self) -> bool:
        """Whether something that was given is still to be heard."""
        return self._playing is not None and self._playing.played < self._playing.milliseconds

    def stop(self) -> None:
        """Silence, at once."""
        if self._playing is not None:
            self._playing.stop()
            self._playing = None

    def finish(self) -> None:
        """Waits until all has been heard."""
        if self._playing is not None:
            self._playing.finish()
            self._playing = None


class _Playing:
    """One run of the player: a thread hands it the sound, for it takes that no faster than it plays."""

    def __init__(self, command: Sequence[str]):
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._began = time.monotonic()
        self._given = 0
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._thread = threading.Thread(target=self._hand_over, daemon=True)
        self._thread.start()

    @property
    def milliseconds(self) -> int:
        return 1000 * self._given // (2 * RATE)

    @property
    def played(self) -> int:
        return min(self.milliseconds, int(1000 * (time.monotonic() - self._began)))

    def add(self, audio: bytes) -> None:
        if not self.milliseconds > self.played:  # a pause lies between: the clock of what is heard stood still
            self._began = time.monotonic() - self.milliseconds / 1000
        self._given += len(audio)
        self._queue.put(audio)

    def stop(self) -> None:
        _end(self._child)
        self._queue.put(None)
        self._thread.join(2)

    def finish(self) -> None:
        self._queue.put(None)
        self._thread.join(self.milliseconds / 1000 + 10)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(self.milliseconds / 1000 + 10)
        _end(self._child)

    def _hand_over(self) -> None:
        stdin = self._child.stdin
        assert stdin is not None  # noqa: S101 - a pipe
        with contextlib.suppress(OSError), stdin:  # a player that has ended plays nothing more
            while (audio := self._queue.get()) is not None:
                stdin.write(audio)
                stdin.flush()


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(2)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def read_wav(path: Path) -> bytes:
    """The sound of a WAV file of 16 bits, whatever its rate and channels. Raises NoSound."""
    wrong = NoSound(f"{path} is not a WAV file with 16 bits a sample.", f"Make one: ffmpeg -i {path} -ar {RATE} -ac 1 in.wav")
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            if width != 2 or not 1_000 <= rate <= 384_000 or not 1 <= channels <= 16:
                raise wrong
            if file.getnframes() > _LONGEST * rate:
                raise NoSound(f"{path} is longer than {_LONGEST // 60} minutes.", "A turn is short.")
            samples = array.array("h", file.readframes(file.getnframes()))
    except (wave.Error, EOFError):
        raise wrong from None
    if sys.byteorder == "big":
        samples.byteswap()
    if channels > 1:
        samples = array.array("h", (sum(frame) // channels for frame in zip(*[iter(samples)] * channels, strict=False)))
    return _resampled(samples, rate)


def _resampled(samples: array.array[int], rate: int) -> bytes:
    """By straight lines between the samples: good enough for speech that is to be recognised."""
    if rate != RATE and len(samples) > 1:
        length, step = len(samples) * RATE // rate, rate / RATE
        last = len(samples) - 2
        made = array.array("h")
        for number in range(length):
            at = number * step
            place = min(int(at), last)
            part = min(at - place, 1.0)
            made.append(int(samples[place] + (samples[place + 1] - samples[place]) * part))
        samples = made
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def write_wav(path: Path, audio: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(audio)
