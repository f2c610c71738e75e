"""Scores of an exported model, drawn by the worker's own code: what can be recognised, which colours are right.

    PYTHONPATH=../../src python scores.py MODEL.safetensors ENCODER.gguf OUT

ENCODER is the starter embedding model (its file in the store). Writes OUT/scores.json, OUT/grid.png (64 fixed prompts, failures
included), OUT/nearest.png (16 of them beside the nearest training pictures), OUT/seeds.png (six prompts, eight seeds each) and
OUT/NNN.png of every judged name.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

import sources
from compose import COLOURS, held_out
from everyday import EVERYDAY
from freehold.workers.pictogram.code import Code
from freehold.workers.pictogram.network import Network
from freehold.workers.pictogram.pictures import grounded, shown
from freehold.workers.pictogram.sampler import Course, nothing_said, sampled
from freehold.workers.pictogram.weights import load as load_weights
from freehold.workers.pictogram.words import Reader
from judge import Judge, on_white, plain, ranks, unmultiplied
from pictograms import SIDE, load

_NAMES = 200
# Sixty-four prompts that were fixed before anything was drawn; the last two rows ask for what was never learnt.
GRID = tuple(
    prompt.strip()
    for row in (
        "a lion, a red apple, car, house, guitar, banana, rocket, butterfly",
        "smiling cat, penguin, hamburger, umbrella, castle, bicycle, cactus, octopus",
        "alarm clock, open book, airplane, snowman, rose, key, robot, pizza",
        "happy face, crying face, doctor, astronaut, thumbs up, eyes, fire, rainbow",
        "blue car, green guitar, purple dog, pink castle, black rabbit, white fox, yellow house, orange bird",
        "two red apples, three stars, two cats, small owl, cat and moon, sun and cloud, fish and key, mirrored car",
        "a puppy, a motorbike, a spaceship, a sofa, a laptop on a desk, a glass of wine, a scary monster, a forest",
        "freedom, music, winter holiday, a red cube on a blue ball, the Eiffel tower, love, internet, a cat riding a bike",
    )
    for prompt in row.split(",")
)
SEEDS = ("lion", "fruit", "animal", "building", "music", "a blue car")  # each with eight seeds
_HUES = {"red": 0, "orange": 30, "yellow": 50, "green": 115, "blue": 215, "purple": 280, "pink": 335}


class Studio:
    def __init__(self, model: Path, encoder: Path, course: Course) -> None:
        self.course = course
        weights = load_weights(model)
        self.network, self.code = Network(weights), Code(weights)
        self.reader = Reader(encoder, f"/tmp/pictogram-scores-{os.getpid()}.sock", 1)
        self.seconds: list[float] = []

    def draw(self, prompt: str, seed: int = 0) -> Image.Image:
        """RGBA."""
        began = time.process_time()
        told = [self.reader.read(prompt)[0], nothing_said()][: 1 if self.course.guidance == 1 else 2]
        latents = sampled(self.network, told, seed, self.course, lambda step, foreseen: None)
        image = shown(self.code.decode(latents))
        self.seconds.append(time.process_time() - began)
        return image


def colour_of(image: Image.Image) -> str:
    """The colour of most of what is drawn: the nearest of the names, by hue where there is one."""
    real = np.asarray(image, np.float32)
    solid = real[real[..., 3] > 128][:, :3]
    if not len(solid):
        return "none"
    high, low = solid.max(1), solid.min(1)
    chroma, light = high - low, (high + low) / 2
    votes: dict[str, float] = {}
    hue = np.degrees(np.arctan2(np.sqrt(3) * (solid[:, 1] - solid[:, 2]), 2 * solid[:, 0] - solid[:, 1] - solid[:, 2])) % 360
    vivid = chroma > 45
    brown = vivid & (high < 175) & ((hue < 45) | (hue > 345)) & (chroma < 110)
    votes["brown"] = brown.sum()
    votes["black"] = (~vivid & (light < 85)).sum()
    votes["white"] = (~vivid & (light > 205)).sum()
    votes["gray"] = (~vivid & (light >= 85) & (light <= 205)).sum()
    names = list(_HUES)
    away = np.abs((hue[:, None] - np.array([_HUES[name] for name in names])[None] + 180) % 360 - 180)
    nearest = away.argmin(1)
    for i, name in enumerate(names):
        votes[name] = (vivid & ~brown & (nearest == i)).sum()
    return max(votes, key=lambda name: votes[name])


def judged(studio: Studio, out: Path) -> dict[str, object]:
    """Top 1 and top 5 among 200 names: of what was drawn, of the font's own pictures, and of noise."""
    kept = torch.load(sources.HOME / "judge.pt")
    judge = Judge(len(kept["codes"]))
    judge.load_state_dict(kept["model"])
    where = {code: i for i, code in enumerate(kept["codes"])}
    pictograms, pictures = load()
    own = {plain(p.code): i for i, p in enumerate(pictograms)}
    others = {p.name: p.code for p in pictograms if p.group in (3, 4, 5, 7) and p.name.isalpha()}
    names: dict[str, str] = {}
    for name, code in {**EVERYDAY, **{name: code for name, code in others.items() if name not in EVERYDAY}}.items():
        if plain(code) in where and plain(code) in own and plain(code) not in names.values() and len(names) < _NAMES:
            names[name] = plain(code)
    labels = np.array([where[code] for code in names.values()])
    drawn = [studio.draw(name) for name in names]
    for i, image in enumerate(drawn):
        image.save(out / f"{i:03d}.png")
    real = [unmultiplied(pictures[own[code]]) for code in names.values()]
    chance = np.random.default_rng(0)
    noise = [Image.fromarray(chance.integers(0, 256, (SIDE, SIDE, 4), np.uint8)) for _ in names]
    found: dict[str, object] = {"names": len(names), "things the judge knows": len(where)}
    for title, images in (("drawn", drawn), ("Noto's own", real), ("noise", noise)):
        x = np.stack([on_white(image) for image in images])
        found[title] = dict(zip(("top 1", "top 5"), ranks(judge, x, labels, labels), strict=True))
        found[f"{title}, among all"] = dict(
            zip(("top 1", "top 5"), ranks(judge, x, labels, np.arange(len(where))), strict=True)
        )
    return found


def coloured(studio: Studio) -> dict[str, object]:
    """Fifty pairs of colour and thing that were never drawn in training."""
    told = [(colour, thing, colour_of(studio.draw(f"{colour} {thing}"))) for colour, thing in held_out()]
    right = [colour == seen for colour, _, seen in told]
    return {"right": sum(right) / len(right), "wrong": [f"{c} {t}: {s}" for c, t, s in told if c != s], "known": len(COLOURS)}


def nearest(images: list[Image.Image]) -> list[tuple[Image.Image, float]]:
    """Of each the training picture with the least mean difference, and that difference (0 to 255)."""
    _, pictures = load()
    base = pictures.astype(np.float32)
    found = []
    for image in images:
        real = np.asarray(image, np.float32)
        real = np.concatenate([real[..., :3] * real[..., 3:] / 255, real[..., 3:]], -1)
        away = np.abs(base - real).mean((1, 2, 3))
        found.append((unmultiplied(pictures[away.argmin()]), float(away.min())))
    return found


def apart(images: list[Image.Image]) -> float:
    """The mean difference (0 to 255) of two of some pictures on white."""
    real = np.stack([np.asarray(grounded(image, "opaque"), np.float32) for image in images])
    pairs = [np.abs(real[i] - real[j]).mean() for i in range(len(real)) for j in range(i)]
    return round(float(np.mean(pairs)), 1)


def sheet(images: list[Image.Image], columns: int, path: Path) -> None:
    whole = Image.new("RGB", (columns * SIDE, -(-len(images) // columns) * SIDE), "white")
    for i, image in enumerate(images):
        whole.paste(grounded(image, "opaque"), (i % columns * SIDE, i // columns * SIDE))
    whole.quantize(256, Image.Quantize.MEDIANCUT).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    studio = Studio(options.model, options.encoder, Course(options.steps, options.guidance))
    grid = [studio.draw(prompt) for prompt in GRID]
    sheet(grid, 8, options.out / "grid.png")
    some = grid[::4]
    beside = nearest(some)
    sheet([image for pair in zip(some, beside, strict=True) for image in (pair[0], pair[1][0])], 8, options.out / "nearest.png")
    chance = [[studio.draw(prompt, seed) for seed in range(8)] for prompt in SEEDS]
    sheet([image for row in chance for image in row], 8, options.out / "seeds.png")
    found = {
        "recognised": judged(studio, options.out),
        "colours": coloured(studio),
        "distance to the nearest training picture": [round(away, 1) for _, away in beside],
        "difference of seeds": {prompt: apart(row) for prompt, row in zip(SEEDS, chance, strict=True)},
        "processor seconds of a picture": round(float(np.median(studio.seconds)), 3),
    }
    (options.out / "scores.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
