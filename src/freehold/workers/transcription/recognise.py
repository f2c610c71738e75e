"""Pieces of speech to text: one engine, several threads, each piece by itself."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence

import numpy as np

from freehold.protocol.transcripts import Segment, Word
from freehold.workers.transcription.cutting import Piece
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import Model

_WORD = ("▁", " ")  # what a token begins with that begins a word (SentencePiece, and BPE of bytes)
_SPACELESS = ("zh", "ja", "yue", "th")


class Recogniser:
    """Recognises up to `threads` pieces at a time, whatever requests they are of."""

    def __init__(self, model: Model, threads: int):
        self.model = model
        self._threads = concurrent.futures.ThreadPoolExecutor(threads, "recognise")

    def submit(self, piece: Piece) -> concurrent.futures.Future[Segment]:
        return self._threads.submit(self._recognise, piece)

    def warm(self) -> None:
        """One second of faint noise, recognised: the engine's whole way. Raises what the engine raises."""
        noise = np.random.default_rng(0).normal(0, 0.001, RATE).astype(np.float32)
        self.submit(Piece(0, 1, 0, noise)).result()

    def _recognise(self, piece: Piece) -> Segment:
        stream = self.model.engine.create_stream()
        stream.accept_waveform(RATE, piece.samples)
        self.model.engine.decode_stream(stream)
        result = stream.result
        words = _words(result.tokens, result.timestamps, getattr(result, "durations", ()), piece) if self._timed else ()
        return Segment(result.text.strip(), piece.start, piece.end, words, result.lang)

    @property
    def _timed(self) -> bool:
        return self.model.family.timed


def _words(tokens: Sequence[str], starts: Sequence[float], lengths: Sequence[float], piece: Piece) -> tuple[Word, ...]:
    """Words from tokens and when each begins, in seconds of the piece. Where the model does not tell how long a token is, it
    lasts until the next one."""
    if len(tokens) != len(starts):
        return ()
    last = piece.offset + len(piece.samples) / RATE
    ends = [*(piece.offset + start for start in starts[1:]), last]
    if len(lengths) == len(tokens):
        ends = [min(last, piece.offset + start + length) for start, length in zip(starts, lengths, strict=True)]
    words: list[Word] = []
    for token, start, end in zip(tokens, starts, ends, strict=True):
        text = token.strip("▁ ")
        if words and not token.startswith(_WORD):
            words[-1] = Word(words[-1].text + text, words[-1].start, end)
        elif text:
            words.append(Word(text, piece.offset + start, end))
    return tuple(words)
