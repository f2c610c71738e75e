"""The training set in memory: latents, captions and how often each is drawn."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import torch
from torch import Tensor

import sources

SHARES = {"base": 0.6, "colour": 0.15, "pair": 0.08, "count": 0.06, "colour count": 0.04, "small": 0.04, "mirror": 0.03}


class Whitener:
    """Turns unit vectors into ones whose directions are equally strong, so that near names lie far apart."""

    def __init__(self, mean: np.ndarray, matrix: np.ndarray) -> None:
        self.mean, self.matrix = mean, matrix

    @classmethod
    def fitted(cls, vectors: np.ndarray) -> Whitener:
        mean = vectors.mean(0)
        variance, basis = np.linalg.eigh(np.cov((vectors - mean).T))
        floor = 0.05 * variance.mean()
        return cls(mean, (basis / np.sqrt(variance.clip(0) + floor)) @ basis.T)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        return ((vectors - self.mean) @ self.matrix).astype(np.float32)


class Text:
    """Every caption's whitened vectors, and the two whiteners that a new caption needs."""

    def __init__(self) -> None:
        kept = np.load(sources.HOME / "text.npz")
        words, sentences = kept["words"].astype(np.float32), kept["sentences"].astype(np.float32)
        self.captions = {caption: i for i, caption in enumerate(kept["captions"].tolist())}
        self.vocabulary = {word: i + 1 for i, word in enumerate(kept["vocabulary"].tolist())}
        self.of_words, self.of_sentences = Whitener.fitted(words[1:]), Whitener.fitted(sentences)
        table = self.of_words(words)
        table[0] = 0
        self.table, self.sentences = torch.from_numpy(table), torch.from_numpy(self.of_sentences(sentences))
        self.places = torch.from_numpy(kept["places"]).long()

    def __call__(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """sentence [b, 384], words [b, 12, 384], given [b, 12]."""
        places = self.places[ids]
        return self.sentences[ids], self.table[places], (places > 0).float()

    def of(self, captions: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        return self(torch.tensor([self.captions[caption] for caption in captions]))


class Rows:
    def __init__(self, text: Text) -> None:
        rows = json.loads((sources.HOME / "rows.json").read_text())
        self.latents = np.load(sources.HOME / "latents.npy", mmap_mode="r")
        count = Counter(row["kind"] for row in rows)
        weights, pictures, captions = [], [], []
        for i, row in enumerate(rows):
            for caption, weight in row["captions"]:
                weights.append(weight * SHARES[row["kind"]] / count[row["kind"]])
                pictures.append(i)
                captions.append(text.captions[caption])
        self.pictures, self.captions = np.array(pictures), np.array(captions)
        self.sums = np.cumsum(weights)

    def draw(self, chance: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """latents [count, 64, 64] and the numbers of their captions."""
        picked = np.searchsorted(self.sums, (chance.random(count) + np.arange(count)) / count * self.sums[-1]).clip(
            0, len(self.sums) - 1
        )
        return torch.from_numpy(self.latents[self.pictures[picked]].astype(np.float32)), torch.from_numpy(self.captions[picked])
