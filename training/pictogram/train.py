"""Trains the drawing model, from its newest checkpoint on if there is one.

    setsid nohup python train.py >> HOME/train.log 2>&1 &        (it makes itself nice)

HOME/flow/newest.pt is the checkpoint, HOME/flow/loss.csv the curve, HOME/flow/NNNNNN.png samples along the way.
/tmp/pictogram-train.pid holds the process: `kill -STOP` pauses it, `kill -CONT` goes on, `kill` ends it after it has saved.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("GOMP_SPINCOUNT", "300")  # threads that spin for each other burn whole time slices where others run
os.setpriority(os.PRIO_PROCESS, 0, 19)

import itertools

import torch
from PIL import Image
from torch import Tensor, nn

import sources
from compose import Code
from data import SHARES, Rows, Text
from model import Drawer

FOLDER = sources.HOME / "flow"
PIDFILE = Path("/tmp/pictogram-train.pid")
WATCHED = (
    "lion", "red apple", "car", "house", "guitar", "banana", "rocket", "butterfly",
    "smiling cat with heart-eyes", "penguin", "hamburger", "umbrella", "castle", "bicycle", "cactus", "octopus",
    "clock", "book", "airplane", "snowman", "rose", "key", "robot", "pizza",
    "blue dog", "green butterfly", "two bananas", "three stars", "pink house", "small owl", "two cats", "fruit",
    "fruit", "animal", "animal", "face", "face", "building", "tool", "sport",
)  # fmt: skip


def sampled(
    model: nn.Module, text: tuple[Tensor, Tensor, Tensor], steps: int = 20, guidance: float = 2.5, seed: int = 0
) -> Tensor:
    """Latents drawn for captions, by Euler's steps, closer together where there is more noise."""
    sentence, words, given = text
    count = len(sentence)
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 64, 64, generator=noise)
    times = torch.linspace(0, 1, steps + 1) ** 1.5
    doubled = [torch.cat([part, part]) for part in (sentence, words)]
    mask = torch.cat([given, torch.zeros_like(given)])
    for now, then in itertools.pairwise(times):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            told, untold = model(torch.cat([x, x]), now.expand(2 * count), *doubled, mask).float().chunk(2)
        foreseen = untold + guidance * (told - untold)
        x = x + (foreseen - x) / (1 - now) * (then - now)
    return x


def sheet(pictures: np.ndarray, columns: int) -> Image.Image:
    """Premultiplied pictures on white, row by row."""
    real = pictures.astype(np.float32)
    white = (real[..., :3] + 255 - real[..., 3:]).clip(0, 255).astype(np.uint8)
    rows = [np.concatenate(list(white[i : i + columns]), 1) for i in range(0, len(white) - len(white) % columns, columns)]
    return Image.fromarray(np.concatenate(rows, 0))


def optimisers(model: Drawer, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for all else."""
    matrices = [p for block in model.blocks for p in block.parameters() if p.ndim == 2]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate * 0.5, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def loss_of(model: nn.Module, picture: Tensor, text: tuple[Tensor, Tensor, Tensor], chance: torch.Generator) -> Tensor:
    """The error of the velocity, at times that are mostly early, where it is decided what is drawn."""
    count = len(picture)
    time_ = torch.sigmoid(torch.randn(count, generator=chance) * 1.0 - 0.9)
    noise = torch.randn(picture.shape, generator=chance)
    sentence, words, given = text
    given = given * (torch.rand(count, 1, generator=chance) > 0.1)
    at = time_[:, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        foreseen = model(at * picture + (1 - at) * noise, time_, sentence, words, given)
    weight = 1 / (1 - time_).clamp(min=0.15) ** 2
    return ((foreseen.float() - picture) ** 2).mean((1, 2)).mul(weight).mean()


def be_nice() -> None:
    """Every thread of this process runs when nobody else does; said again and again, as others may lift them."""
    for thread in Path("/proc/self/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)


def processors_of_others(since: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    """How many processors other processes took since a mark, and a new mark."""
    ticks = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    busy = (sum(map(int, ticks)) - int(ticks[3]) - int(ticks[4])) / os.sysconf("SC_CLK_TCK") - time.process_time()
    now = time.monotonic()
    return (busy - since[1]) / max(now - since[0], 1e-3), (now, busy)


def taught_canvas(model: Drawer, rows: Rows, text: Text, steps: int) -> None:
    """Teaches the canvas alone, by plain regression from captions to latents: almost free, and a likeness to start from."""
    parts = [*model.canvas.parameters(), model.nothing]
    optimiser = torch.optim.AdamW(parts, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(steps):
        chance = np.random.default_rng([7, step])
        picture, ids = rows.draw(chance, 192)
        sentence, words, given = text(ids)
        given = given * torch.from_numpy(chance.random((192, 1)) > 0.1)
        with torch.autocast("cpu", torch.bfloat16):
            foreseen = model.first(sentence, words, given.float())
        loss = ((foreseen.float() - picture) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * min(1.0, (steps - step) / (0.3 * steps))
        optimiser.step()
        if step % 100 == 0:
            if step % 500 == 0:
                torch.save(model.canvas.state_dict(), FOLDER / "canvas.pt")
            print("canvas", step, round(loss.item(), 4), flush=True)


class Training:
    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options, self.step, self.samples, self.seconds = options, 0, 0, 0.0
        self.model = Drawer()
        self.smooth = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimisers = optimisers(self.model, options.rate)
        self.newest = FOLDER / "newest.pt"
        if self.newest.exists():
            kept: dict[str, Any] = torch.load(self.newest)
            self.model.load_state_dict(kept["model"])
            self.smooth = kept["smooth"]
            for optimiser, state in zip(self.optimisers, kept["optimisers"], strict=True):
                optimiser.load_state_dict(state)
            self.step, self.samples, self.seconds = kept["step"], kept["samples"], kept["seconds"]
        self.average = Drawer()
        self.average.requires_grad_(False)
        self.fast: nn.Module = torch.compile(self.model) if options.compile else self.model

    def save(self) -> None:
        kept = {
            "model": self.model.state_dict(),
            "smooth": self.smooth,
            "optimisers": [o.state_dict() for o in self.optimisers],
        }
        aside = self.newest.with_suffix(".part")
        torch.save({**kept, "step": self.step, "samples": self.samples, "seconds": self.seconds}, aside)
        aside.replace(self.newest)

    def rate(self) -> float:
        """Warm-up over 200 steps, and a fall to a twentieth over the last fifth when an end is given."""
        warm = min(1.0, (self.step + 1) / 200)
        end = self.options.steps
        return warm * (min(1.0, max(0.05, (end - self.step) / (0.2 * end))) if end else 1.0)

    def advance(self, picture: Tensor, text: tuple[Tensor, Tensor, Tensor]) -> float:
        started = time.monotonic()
        chance = torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.step)
        loss = loss_of(self.fast, picture, text, chance)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser, full in zip(self.optimisers, (self.options.rate, self.options.rate * 0.5), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = full * self.rate()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        keep = min(0.999, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            state = self.model.state_dict()
            torch._foreach_lerp_(list(self.smooth.values()), [state[name] for name in self.smooth], 1 - keep)
        self.step, self.samples = self.step + 1, self.samples + len(picture)
        self.seconds += time.monotonic() - started
        return loss.item()

    def show(self, text: Text, code: Code, captions: Iterable[str]) -> None:
        self.average.load_state_dict(self.smooth, strict=False)
        latents = sampled(self.average, text.of(list(captions)))
        sheet(code.decode(latents.numpy()), 8).save(FOLDER / f"{self.step:06d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=0, help="where to end; 0: never")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shares", choices=SHARES, default="names", help="how often each kind of picture is drawn")
    parser.add_argument("--canvas", type=Path, help="a canvas to go on with, in place of one at random")
    parser.add_argument("--canvas-steps", type=int, default=2000)
    parser.add_argument("--compile", action="store_true", help="a sixth faster, after a minute of compiling; needs g++")
    parser.add_argument("--show-every", type=int, default=500)
    options = parser.parse_args()
    if options.canvas and (FOLDER / "newest.pt").exists():
        parser.error(f"{FOLDER / 'newest.pt'} is there, and would be gone on with, without --canvas: move it away")
    torch.set_num_threads(options.threads)
    FOLDER.mkdir(parents=True, exist_ok=True)
    PIDFILE.write_text(str(os.getpid()))
    text, code = Text(), Code.load()
    rows, training = Rows(text, SHARES[options.shares]), Training(options)
    if not training.newest.exists():
        for name, value in zip(("halved", "turned", "empty"), code.changes(), strict=True):
            getattr(training.model.canvas, name).copy_(torch.from_numpy(value))
        if options.canvas:
            training.model.canvas.load_state_dict(torch.load(options.canvas))
        taught_canvas(training.model, rows, text, options.canvas_steps)
        torch.save(training.model.canvas.state_dict(), FOLDER / "canvas.pt")
        with torch.no_grad():
            foreseen = training.model.first(*text.of([c for c in WATCHED if c in text.captions]))
        sheet(code.decode(foreseen.numpy()), 8).save(FOLDER / "canvas.png")
        training.smooth = {name: value.detach().clone() for name, value in training.model.state_dict().items()}
        training.save()
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    losses: list[float] = []
    _, mark = processors_of_others((0.0, 0.0))
    with (FOLDER / "loss.csv").open("a", newline="") as file:
        curve = csv.writer(file)
        while not ending and not (options.steps and training.step >= options.steps):
            chance = np.random.default_rng([options.seed, training.step])
            picture, ids = rows.draw(chance, options.batch)
            be_nice()
            others, mark = processors_of_others(mark)
            torch.set_num_threads(1 if others > 0.8 else options.threads)
            losses.append(training.advance(picture, text(ids)))
            if training.step % 20 == 0:
                curve.writerow([training.step, training.samples, round(training.seconds), round(float(np.mean(losses)), 5)])
                file.flush()
                losses.clear()
            if training.step % 200 == 0:
                training.save()
            if training.step % options.show_every == 0 or training.step == 100:
                training.show(text, code, [c for c in WATCHED if c in text.captions])
    training.save()
    PIDFILE.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
