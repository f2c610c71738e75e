"""Pieces of speech to text: one engine, several threads, each piece by itself."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from freehold.protocol.transcripts import Segment, Word, spaceless
from freehold.workers.transcription.cutting import Piece
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Asked, Model
from freehold.workers.transcription.threads import Threads, Urgency

_WORD = ("▁", " ")  # what a token begins with that begins a word (SentencePiece, and BPE of bytes)
_GOES_ON = "@@"  # what a token ends with whose word goes on (subword-nmt's BPE)
_ANYTHING = Asked()
T = TypeVar("T")


class Recogniser:
    """Recognises up to `at_once` pieces at a time, whatever requests they are of, the most urgent first."""

    def __init__(self, model: Model, threads: int):
        self.model = model
        self.at_once = threads if model.family.parallel else 1
        self._threads = Threads(self.at_once, "recognise")

    def submit(
        self, piece: Piece, asked: Asked = _ANYTHING, urgency: Urgency = Urgency.FILE
    ) -> concurrent.futures.Future[Segment]:
        return self.run(urgency, lambda: self._recognise(piece, asked))

    def attempt(self, piece: Piece, asked: Asked) -> concurrent.futures.Future[tuple[Segment, float]]:
        """Recognises what is still being said; with the seconds of a processor that it took."""

        def work() -> tuple[Segment, float]:
            began = time.thread_time()
            return self._recognise(piece, asked), time.thread_time() - began

        return self.run(Urgency.SPEAKING, work)

    def run(self, urgency: Urgency, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        """On one of the threads."""
        return self._threads.submit(urgency, work)

    def close(self) -> None:
        """Waits for what is being recognised; nothing more will be."""
        self._threads.close()

    def warm(self) -> None:
        """One second of faint noise, recognised: the engine's whole way. Raises what the engine raises."""
        noise = np.random.default_rng(0).normal(0, 0.001, RATE).astype(np.float32)
        self.submit(Piece(0, 1, 0, noise)).result()

    def _recognise(self, piece: Piece, asked: Asked) -> Segment:
        heard = self.model.recognise(piece.samples, asked)
        words: tuple[Word, ...] = ()
        if self.model.family.timed:
            words = words_of(heard.tokens, heard.starts, heard.lengths, piece)
        return Segment(heard.text.strip(), piece.start, piece.end, words, heard.language, piece.speaker)


def words_of(tokens: Sequence[str], starts: Sequence[float], lengths: Sequence[float], piece: Piece) -> tuple[Word, ...]:
    """Words from tokens and when each begins, in seconds of the piece. Where the model does not tell how long a token is, it
    lasts until the next one."""
    if len(tokens) != len(starts):
        return ()
    last = piece.offset + len(piece.samples) / RATE
    ends = [*(piece.offset + start for start in starts[1:]), last][: len(tokens)]
    if len(lengths) == len(tokens):
        ends = [min(last, piece.offset + start + length) for start, length in zip(starts, lengths, strict=True)]
    whole = not any(token.startswith(_WORD) for token in tokens)  # tokens that are words, or say that theirs goes on
    words: list[Word] = []
    goes_on = False
    for token, start, end in zip(tokens, starts, ends, strict=True):
        text = token.strip("▁ ").removesuffix(_GOES_ON)
        if words and (goes_on if whole else not _begins(token)):
            words[-1] = Word(words[-1].text + text, words[-1].start, end)
        elif text:
            words.append(Word(text, piece.offset + start, end))
        goes_on = token.endswith(_GOES_ON)
    return tuple(words)


def _begins(token: str) -> bool:
    """Whether a token begins a word: it says so, or is of a script without spaces."""
    return token.startswith(_WORD) or spaceless(token[:1])
