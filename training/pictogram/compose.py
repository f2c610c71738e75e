"""Pictures made of the base pictograms, with captions that say what was done, and the linear code of all of them.

    python compose.py            writes HOME/code.npz, HOME/latents.npy and HOME/rows.json

A picture [128, 128, 4] is cut into 8×8 squares of 16×16 pixels; each square is written in the 64 strongest principal
components of all squares of the base pictograms: a latent space without training, [64 squares, 64 numbers].
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

import sources
from everyday import EVERYDAY
from pictograms import SIDE, Pictogram, load

COMPONENTS = 64
COLOURS = {
    "red": (222, 40, 36), "orange": (248, 138, 22), "yellow": (252, 206, 36), "green": (62, 158, 52), "blue": (36, 112, 222),
    "purple": (142, 62, 182), "pink": (246, 122, 176), "brown": (132, 84, 54), "black": (44, 46, 50), "white": (238, 240, 242),
    "gray": (146, 150, 156),
}  # fmt: skip
SYMBOLS = 8
_THINGS = (3, 4, 5, 6, 7)  # groups whose pictograms are coloured, counted and paired
NUMBERS = ("two", "three")

# Never composed: the colour of these is asked in the scores, so what is drawn there was not seen.
HELD_OUT = {
    "red": "car bus bell airplane fish", "orange": "bicycle chair mushroom bird sock", "yellow": "house truck rose door key",
    "green": "umbrella crown guitar train hat", "blue": "banana tree cat lion dress", "purple": "dog elephant star cup shoe",
    "pink": "frog rocket castle camera turtle", "brown": "duck bag boat shark whale", "black": "rabbit swan shirt butterfly balloon",  # noqa: E501
    "white": "fox bed lock tent crab",
}  # fmt: skip


def held_out() -> list[tuple[str, str]]:
    return [(colour, thing) for colour, things in HELD_OUT.items() for thing in things.split()]


def plural(noun: str) -> str:
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    return noun[:-1] + "ies" if re.search(r"[^aeiou]y$", noun) else noun + "s"


def recoloured(picture: np.ndarray, colour: str) -> np.ndarray | None:
    """The picture with its main colour replaced; None where no part of it is large enough to be one."""
    alpha = picture[..., 3:].astype(np.float32)
    rgb = picture[..., :3] / np.maximum(alpha, 1) * 255
    solid = alpha[..., 0] > 96
    if solid.sum() < 800:
        return None
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    light = rgb @ np.float32([0.3, 0.59, 0.11])
    vivid = solid & (chroma > 48)
    if vivid.sum() > 0.3 * solid.sum():
        hue = np.angle((rgb @ np.float32([1, -0.5, -0.5])) + 1j * (rgb @ np.float32([0, 0.866, -0.866])))
        histogram, edges = np.histogram(hue[vivid], 36, (-np.pi, np.pi), weights=chroma[vivid])
        wide = histogram + np.roll(histogram, 1) + np.roll(histogram, -1)
        main = edges[wide.argmax()] + np.pi / 36
        near = np.abs(np.angle(np.exp(1j * (hue - main))))
        weight = np.clip(1.6 - near / 0.45, 0, 1) * np.clip((chroma - 20) / 30, 0, 1)
    else:
        weight = np.clip((light - 70) / 50, 0, 1) * np.clip((70 - chroma) / 30, 0, 1)
    weight = np.where(alpha[..., 0] > 16, weight, 0)
    if (weight * (alpha[..., 0] / 255)).sum() < 0.35 * solid.sum():
        return None
    middle = np.average(light, weights=weight * alpha[..., 0] + 1e-6)
    target = np.float32(COLOURS[colour])
    ratio = (light / max(middle, 40))[..., None]
    darker = target * np.clip(ratio, 0.25, 1) ** 0.9
    brighter = target + (255 - target) * np.clip((ratio - 1) * 0.55, 0, 0.75)
    painted = np.where(ratio < 1, darker, brighter)
    mixed = rgb * (1 - weight[..., None]) + painted * weight[..., None]
    return np.concatenate([mixed * alpha / 255, alpha], -1).clip(0, 255).round().astype(np.uint8)


def scaled(picture: np.ndarray, side: int) -> np.ndarray:
    planes = [Image.fromarray(picture[..., c]).resize((side, side), Image.Resampling.BOX) for c in range(4)]
    return np.stack([np.asarray(p) for p in planes], -1)


def placed(pictures: list[np.ndarray]) -> np.ndarray:
    """One picture of one, two or three, in fixed places: in the middle; left and right; one above two."""
    canvas = np.zeros((SIDE, SIDE, 4), np.uint8)
    corners = {1: [(32, 32)], 2: [(32, 0), (32, 64)], 3: [(0, 32), (64, 0), (64, 64)]}[len(pictures)]
    for picture, (top, left) in zip(pictures, corners, strict=True):
        canvas[top : top + 64, left : left + 64] = scaled(picture, 64)
    return canvas


def said(pictograms: list[Pictogram]) -> list[list[tuple[str, float]]]:
    """For each pictogram its captions and how often each is said, in all one: names most, words of many drawings never."""
    codes = {p.code.replace("-FE0F", ""): i for i, p in enumerate(pictograms)}
    taken = {name: codes[code] for name, code in EVERYDAY.items() if code in codes}
    names = {p.name for p in pictograms}
    shared = Counter(word for p in pictograms for word in p.words)
    every: list[list[tuple[str, float]]] = []
    for i, pictogram in enumerate(pictograms):
        short = [word for word, owner in taken.items() if owner == i]
        own = [n for n in [pictogram.name] if taken.get(n, i) == i] or [pictogram.name + " symbol"]
        captions = dict.fromkeys(own, 3.0)
        for name in [*own, *short]:
            captions[name] = 3.0
            captions[f"{'an' if name[0] in 'aeiou' else 'a'} {name}"] = 1.0
        for word in pictogram.words:
            if word not in taken and word not in names and shared[word] <= 3 and len(word) > 1:
                captions[word] = captions.get(word, 0) + 0.7 / shared[word]
        total = sum(captions.values())
        every.append([(caption, weight / total) for caption, weight in captions.items()])
    return every


def short_names(pictograms: list[Pictogram]) -> dict[int, str]:
    """The one or two words that composed captions use, for the pictograms that are things."""
    codes = {p.code.replace("-FE0F", ""): i for i, p in enumerate(pictograms)}
    found = {
        i: p.name
        for i, p in enumerate(pictograms)
        if p.group in _THINGS
        and len(p.name.split()) <= 2
        and "o’clock" not in p.name
        and codes.get(EVERYDAY.get(p.name, ""), i) == i
    }
    for name, code in EVERYDAY.items():
        if code in codes and (pictograms[codes[code]].group in _THINGS or name in ("heart", "robot", "ghost", "cat")):
            found[codes[code]] = name
    return found


def compositions(pictograms: list[Pictogram], pictures: np.ndarray, seed: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """(kind, caption, picture) of every composed picture; the same for the same seed."""
    chance = random.Random(seed)
    names = short_names(pictograms)
    colours = set(COLOURS)
    plain = {i: n for i, n in names.items() if not set(n.split()) & {*colours, "and", "white", "light"}}
    hidden = set(held_out())
    tinted: dict[tuple[int, str], np.ndarray] = {}
    for i, name in plain.items():
        for colour in COLOURS:
            synonyms = {n for n, c in EVERYDAY.items() if c == pictograms[i].code.replace("-FE0F", "")} | {
                name,
                pictograms[i].name,
            }
            if any((colour, n) in hidden for n in synonyms):
                continue
            if (picture := recoloured(pictures[i], colour)) is not None:
                tinted[i, colour] = picture
                yield "colour", f"{colour} {name}", picture
    for i, name in names.items():
        yield "count", f"two {plural(name)}", placed([pictures[i]] * 2)
        yield "count", f"three {plural(name)}", placed([pictures[i]] * 3)
        yield "small", f"small {name}", placed([pictures[i]])
        if chance.random() < 0.3:
            yield "mirror", f"mirrored {name}", pictures[i][:, ::-1]
    for i, colour in chance.sample(sorted(tinted), 1500):
        number = chance.choice(NUMBERS)
        count = 2 if number == "two" else 3
        yield "colour count", f"{number} {colour} {plural(names[i])}", placed([tinted[i, colour]] * count)
    for _ in range(6000):
        one, other = chance.sample(sorted(names), 2)
        yield "pair", f"{names[one]} and {names[other]}", placed([pictures[one], pictures[other]])


class Code:
    """The linear code between pictures and latents: mean [1024], basis [1024, 64], scale [64]."""

    def __init__(self, mean: np.ndarray, basis: np.ndarray, scale: np.ndarray) -> None:
        self.mean, self.basis, self.scale = mean, basis, scale

    @classmethod
    def fitted(cls, pictures: np.ndarray) -> Code:
        cut = squares(pictures)
        mean = cut.mean(0)
        variance, vectors = np.linalg.eigh((cut - mean).T @ (cut - mean) / len(cut))
        variance, vectors = variance[::-1][:COMPONENTS], vectors[:, ::-1][:, :COMPONENTS]
        scale = variance**0.3  # the strong components stay stronger: layout is decided before detail
        scale *= np.sqrt((variance / scale**2).mean())
        return cls(mean, np.ascontiguousarray(vectors), scale.astype(np.float32))

    @classmethod
    def load(cls) -> Code:
        kept = np.load(sources.HOME / "code.npz")
        return cls(kept["mean"], kept["basis"], kept["scale"])

    def save(self) -> None:
        np.savez(sources.HOME / "code.npz", mean=self.mean, basis=self.basis, scale=self.scale)

    def changes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How latents of a picture less the empty one change: four squares as one of half size [256, 64]; a square mirrored
        [64, 64]; and a square of the empty picture itself [64]."""
        real = self.basis * self.scale  # [1024, 64]: pixels of a change by one
        pixels = real.reshape(16, 16, 4, COMPONENTS)
        halved = []
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            small = np.zeros_like(pixels)
            mean = pixels.reshape(8, 2, 8, 2, 4, COMPONENTS).mean((1, 3))
            small[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = mean
            halved.append(small.reshape(1024, COMPONENTS).T @ self.basis / self.scale)
        turned = pixels[:, ::-1].reshape(1024, COMPONENTS).T @ self.basis / self.scale
        return np.concatenate(halved), turned, -self.mean @ self.basis / self.scale

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """[n, 128, 128, 4] uint8 to [n, 64, 64]."""
        return ((squares(pictures) - self.mean) @ self.basis / self.scale).reshape(len(pictures), 64, COMPONENTS)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """[n, 64, 64] to [n, 128, 128, 4] uint8, premultiplied."""
        cut = (latents * self.scale) @ self.basis.T + self.mean
        whole = cut.reshape(-1, 8, 8, 16, 16, 4).transpose(0, 1, 3, 2, 4, 5).reshape(-1, SIDE, SIDE, 4)
        return (whole.clip(0, 1) * 255).round().astype(np.uint8)


def squares(pictures: np.ndarray) -> np.ndarray:
    real = pictures.astype(np.float32) / 255
    return real.reshape(-1, 8, 16, 8, 16, 4).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 1024)


def main(seed: int = 1) -> None:
    pictograms, pictures = load()
    code = Code.fitted(pictures)
    code.save()
    rows: list[dict[str, Any]] = [
        {"kind": "base", "captions": captions, "shown": pictograms[i].group != SYMBOLS}
        for i, captions in enumerate(said(pictograms))
    ]
    latents = [code.encode(pictures).astype(np.float16)]
    waiting: list[np.ndarray] = []
    for kind, caption, picture in compositions(pictograms, pictures, seed):
        rows.append({"kind": kind, "captions": [(caption, 1.0)]})
        waiting.append(picture)
        if len(waiting) == 512:
            latents.append(code.encode(np.stack(waiting)).astype(np.float16))
            waiting = []
    if waiting:
        latents.append(code.encode(np.stack(waiting)).astype(np.float16))
    np.save(sources.HOME / "latents.npy", np.concatenate(latents))
    (sources.HOME / "rows.json").write_text(json.dumps(rows))
    print(Counter(row["kind"] for row in rows), sum(len(row["captions"]) for row in rows), "captions")


if __name__ == "__main__":
    main()
