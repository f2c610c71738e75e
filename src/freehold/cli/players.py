"""Playing sound as it comes, by a program that is there: FFmpeg's, mpv, ALSA's, PulseAudio's, or macOS's."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from freehold.cli.wav import finished
from freehold.errors import OperatorError

# In the order of preference. All but the last take a WAV stream on their standard input; that one wants a file.
_PLAYERS = (
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-i", "pipe:0"),
    ("mpv", "--no-terminal", "--no-video", "-"),
    ("aplay", "-q", "-"),
    ("paplay", "--file-format=wav", "/dev/stdin"),
    ("afplay",),
)
_PATIENCE = 5.0  # seconds for a player to end after it was told to


@dataclass(frozen=True)
class Player:
    """A program on this machine, and how it is called."""

    program: str
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        return Path(self.program).name

    def play(self, pieces: Iterable[bytes]) -> None:
        """Plays a WAV file that comes in pieces, to its end. Raises OperatorError when the program fails."""
        if self.name == "afplay":
            self._play_file(pieces)
        else:
            self._play_stream(pieces)

    def _play_stream(self, pieces: Iterable[bytes]) -> None:
        with subprocess.Popen([self.program, *self.arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                with contextlib.suppress(BrokenPipeError):  # it has ended before the sound did: its exit status tells why
                    for piece in pieces:
                        process.stdin.write(piece)  # type: ignore[union-attr]
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()  # type: ignore[union-attr]
                said = process.stderr.read(2_000)  # type: ignore[union-attr]
                process.wait()
            except BaseException:  # Ctrl-C above all: a player must not go on by itself
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE)
                process.kill()
                raise
        self._check(process.returncode, said)

    def _play_file(self, pieces: Iterable[bytes]) -> None:
        with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
            path = Path(folder) / "speech.wav"
            with path.open("wb") as file:
                file.writelines(pieces)
            finished(path)
            done = subprocess.run([self.program, str(path)], capture_output=True, check=False)
        self._check(done.returncode, done.stderr)

    def _check(self, code: int, said: bytes) -> None:
        if code:
            reason = " ".join(said.decode("utf-8", "replace").split())[-200:] or f"exit status {code}"
            raise OperatorError(f"{self.name} could not play it: {reason}.", "Write it to a file: -o speech.mp3")


def player() -> Player | None:
    """The first that is installed."""
    for name, *arguments in _PLAYERS:
        if program := shutil.which(name):
            return Player(program, tuple(arguments))
    return None
