"""A prompt as vectors: one of the whole, one of each of its first words, by a text model on llama.cpp."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from freehold.workers.pictogram.network import WORDS, Told
from freehold.workers.pictogram.weights import Array

MOST_TOKENS = 512  # of the text model
_QUIET = 1
_KEPT = 512  # words whose vectors are remembered


class TooLong(Exception):
    """A text that has more tokens than the model reads."""


def words_of(text: str) -> list[str]:
    """The words that are looked at one by one."""
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())[:WORDS]


class Reader:
    """`model` is the GGUF file of a text model; `socket` a path where its library listens, and nobody calls; it must
    end in .sock to be taken for one."""

    def __init__(self, model: Path, socket: str, threads: int):
        import xllamacpp

        Path(socket).unlink(missing_ok=True)  # one that was left behind cannot be bound
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.hostnames, params.port = [socket], 0
        params.ui = params.endpoint_metrics = params.endpoint_slots = False
        params.embedding = True
        params.n_ctx = params.n_batch = params.n_ubatch = MOST_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.cpuparams.poll = params.cpuparams_batch.poll = 0
        params.verbosity, params.warmup, params.fit_params = _QUIET, False, False
        self._server = xllamacpp.Server(params)
        self._known: dict[str, Array] = {}

    def read(self, text: str) -> tuple[Told, int]:
        """What a text says, and its tokens. Raises TooLong."""
        words = words_of(text)
        self._remember(words)
        vectors, given = np.zeros((1, WORDS, 384), np.float32), np.zeros((1, WORDS), np.float32)
        given[0, 0] = 1  # of a text of signs alone the whole says what they are
        for i, word in enumerate(words):
            vectors[0, i], given[0, i] = self._known[word], 1
        whole, tokens = self._vectors([text])
        return Told(whole, vectors, given), tokens

    def _remember(self, words: list[str]) -> None:
        new = sorted(set(words) - self._known.keys())
        if len(self._known) + len(new) > _KEPT:
            self._known.clear()
            new = sorted(set(words))
        if new:
            self._known.update(zip(new, self._vectors(new)[0], strict=True))

    def _vectors(self, texts: list[str]) -> tuple[Array, int]:
        """[n, 384], each of length one; and the tokens of them all."""
        answer: dict[str, Any] = self._server.handle_embeddings({"input": texts})
        if "error" in answer:
            raise TooLong(f"It reads {MOST_TOKENS} tokens.")
        vectors = np.array([entry["embedding"] for entry in answer["data"]], np.float32)
        return vectors, int(answer["usage"]["prompt_tokens"])
