"""A file's speech, piece by piece: decoded, cut and recognised at once, in bounded memory, in order."""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from freehold.protocol.transcripts import Segment
from freehold.workers.transcription.cutting import Cut, Cutter, Piece, Tape
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Asked
from freehold.workers.transcription.media import Audio, decoded
from freehold.workers.transcription.recognise import Recogniser
from freehold.workers.transcription.turns import Turns
from freehold.workers.transcription.vad import Detector, Sensitivity, Span

_AHEAD = 4  # pieces of a file that wait to be recognised or told, at least; there are as many as can be recognised at a time


@dataclass
class Listening:
    """A file that is being listened to, and closed afterwards. `turns` say who speaks when, where that is known. `heard` is how
    many seconds have been decoded, `claimed` how many the file says it has. `stop` ends it early, from any thread."""

    file: BinaryIO
    recogniser: Recogniser
    asked: Asked
    cut: Cut
    sensitivity: Sensitivity
    longest: float
    turns: Turns | None = None
    heard: float = 0.0
    claimed: float | None = None
    _told: queue.Queue[concurrent.futures.Future[Segment] | Exception | None] = field(init=False)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._told = queue.Queue(max(_AHEAD, self.recogniser.at_once))

    def segments(self) -> Iterator[Segment]:
        """What is said, in order. Raises Refused for a file that cannot be decoded."""
        thread = threading.Thread(target=self._listen, name="listen", daemon=True)
        thread.start()
        try:
            while (found := self._told.get()) is not None:
                if isinstance(found, Exception):
                    raise found
                segment = found.result()
                if segment.text:
                    yield segment
        finally:
            self.stop()
            thread.join()

    @property
    def over(self) -> bool:
        """Whether all of it has been heard, or it was ended."""
        return self.file.closed

    def stop(self) -> None:
        self._stopped.set()
        with contextlib.suppress(queue.Empty):
            while True:  # whoever waits for room goes on, and sees that it is over
                if isinstance(waiting := self._told.get_nowait(), concurrent.futures.Future):
                    waiting.cancel()
        with contextlib.suppress(queue.Full):
            self._told.put_nowait(None)

    def _listen(self) -> None:
        try:
            with decoded(self.file, self.longest) as audio:
                self.claimed = audio.claimed
                for piece in self._pieces(audio):
                    self._tell(self.recogniser.submit(piece, self.asked))
            self._tell(None)
        except _Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - it is raised where the segments are wanted
            with contextlib.suppress(_Stopped):
                self._tell(error)
        finally:
            self.file.close()

    def _pieces(self, audio: Audio) -> Iterator[Piece]:
        tape, detector = Tape(), Detector(self.sensitivity)
        cutter = Cutter(self.cut, tape)
        for samples in audio.samples:
            tape.add(samples)
            self.heard = tape.length / RATE
            for span in self._whose(detector.feed(samples)):
                yield from cutter.add(span)
            if not detector.speaking:
                yield from cutter.advance(tape.length)
            if self._stopped.is_set():
                raise _Stopped
        for span in self._whose(detector.end()):
            yield from cutter.add(span)
        yield from cutter.end()

    def _whose(self, spans: Iterable[Span]) -> Iterator[Span]:
        for span in spans:
            yield from (span,) if self.turns is None else self.turns.parted(span)

    def _tell(self, item: concurrent.futures.Future[Segment] | Exception | None) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                return self._told.put(item, timeout=1.0)
        raise _Stopped


class _Stopped(Exception):
    """Nobody wants the rest."""
