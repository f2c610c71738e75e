"""The training set in memory: latents, captions and how often each is drawn."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sources
from compose import COLOURS, SYMBOLS
from everyday import EVERYDAY
from pictograms import load

KINDS = ("base", "near", "colour", "pair", "count", "colour count", "small", "mirror", "common")
SHARES = {
    "names": dict(zip(KINDS, (0.5, 0.12, 0.15, 0.08, 0.06, 0.04, 0.04, 0.03, 0.0), strict=True)),
    "colours": dict(zip(KINDS, (0.3, 0.08, 0.42, 0.05, 0.04, 0.05, 0.03, 0.03, 0.0), strict=True)),
    "several": dict(zip(KINDS, (0.3, 0.07, 0.2, 0.05, 0.05, 0.03, 0.03, 0.02, 0.25), strict=True)),
}  # how often each kind of picture is drawn
_COMMON, _MODES = 5, 3  # pictograms at least that share a word; and how many of them it is drawn as


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


def _whiteners(words: np.ndarray, sentences: np.ndarray) -> tuple[Whitener, Whitener]:
    """Fitted once: a network that goes on with more words must see the old ones as before."""
    path = sources.HOME / "whiteners.npz"
    if not path.exists():
        fitted = [Whitener.fitted(words), Whitener.fitted(sentences)]
        np.savez(path, **{f"{name}{i}": getattr(each, name) for i, each in enumerate(fitted) for name in ("mean", "matrix")})
    kept = np.load(path)
    return Whitener(kept["mean0"], kept["matrix0"]), Whitener(kept["mean1"], kept["matrix1"])


class Text:
    """Every caption's whitened vectors, and the two whiteners that a new caption needs."""

    def __init__(self) -> None:
        kept = np.load(sources.HOME / "text.npz")
        words, sentences = kept["words"].astype(np.float32), kept["sentences"].astype(np.float32)
        self._plain = sentences
        self.captions = {caption: i for i, caption in enumerate(kept["captions"].tolist())}
        self.vocabulary = {word: i + 1 for i, word in enumerate(kept["vocabulary"].tolist())}
        self.of_words, self.of_sentences = _whiteners(words[1:], sentences)
        table = self.of_words(words)
        table[0] = 0
        self.table, self.sentences = torch.from_numpy(table), torch.from_numpy(self.of_sentences(sentences))
        self.places = torch.from_numpy(kept["places"]).long()

    def __call__(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """sentence [b, 384], words [b, 12, 384], given [b, 12]."""
        places = self.places[ids]
        return self.sentences[ids], self.table[places], (places > 0).float()

    def vectors(self, captions: list[str]) -> np.ndarray:
        """[n, 384] as the text model gives them."""
        return self._plain[[self.captions[caption] for caption in captions]]

    def of(self, captions: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        return self(torch.tensor([self.captions[caption] for caption in captions]))


def common(text: Text) -> list[dict[str, Any]]:
    """Rows of words that many pictograms share and none has for its name, "fruit" or "animal": each is drawn as any of the few
    whose names are nearest to it, so that there is something for chance to decide."""
    pictograms = load()[0]
    sharing: dict[str, list[int]] = {}
    for i, pictogram in enumerate(pictograms):
        for word in pictogram.words if pictogram.group != SYMBOLS and pictogram.name in text.captions else ():
            sharing.setdefault(word, []).append(i)
    taken = {*EVERYDAY, *COLOURS, *(p.name for p in pictograms)}
    rows = []
    for word, those in sharing.items():
        if len(those) >= _COMMON and word in text.captions and word not in taken:
            near = text.vectors([pictograms[i].name for i in those]) @ text.vectors([word])[0]
            rows += [{"kind": "common", "captions": [(word, 1.0)], "base": those[i]} for i in near.argsort()[::-1][:_MODES]]
    return rows


class Rows:
    def __init__(self, text: Text, shares: dict[str, float]) -> None:
        rows = json.loads((sources.HOME / "rows.json").read_text())
        self.latents = np.load(sources.HOME / "latents.npy", mmap_mode="r")
        near = json.loads((sources.HOME / "near.json").read_text())
        if shares["common"]:
            several = common(text)
            rows += several
            there = {row["captions"][0][0] for row in several}
            near = [(word, base) for word, base in near if word not in there]
        rows += [{"kind": "near", "captions": [(word, 1.0)], "base": base} for word, base in near]
        count = Counter(row["kind"] for row in rows)
        weights, pictures, captions = [], [], []
        for i, row in enumerate(rows):
            for caption, weight in row["captions"]:
                weights.append(weight * shares[row["kind"]] / count[row["kind"]])
                pictures.append(row.get("base", i))
                captions.append(text.captions[caption])
        self.pictures, self.captions = np.array(pictures), np.array(captions)
        self.sums = np.cumsum(weights)

    def draw(self, chance: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """latents [count, 64, 64] and the numbers of their captions."""
        picked = np.searchsorted(self.sums, (chance.random(count) + np.arange(count)) / count * self.sums[-1]).clip(
            0, len(self.sums) - 1
        )
        return torch.from_numpy(self.latents[self.pictures[picked]].astype(np.float32)), torch.from_numpy(self.captions[picked])
