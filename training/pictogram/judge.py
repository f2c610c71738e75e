"""Judges drawings by a classifier that never saw the font the drawing model learnt from: can one tell what they show?

python judge.py [--steps 4000]   learns from Twemoji, OpenMoji, Fluent, EmojiOne and FxEmojis; writes HOME/judge.pt
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
from collections.abc import Callable, Iterator

os.environ.setdefault("GOMP_SPINCOUNT", "300")
os.setpriority(os.PRIO_PROCESS, 0, 19)

import numpy as np
import resvg_py
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import sources
from pictograms import load

SIDE = 48
_THINGS = (3, 4, 5, 6, 7)


def plain(code: str) -> str:
    return code.upper().replace("-FE0F", "")


def drawings() -> Iterator[tuple[str, str, Image.Image]]:
    """(set, code, picture) of every drawing by other hands."""
    for path in sorted((sources.fetch(sources.TWEMOJI) / "package/img/twitter/64").glob("*.png")):
        yield "twemoji", plain(path.stem), Image.open(path)
    vectors: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
        "openmoji": _openmoji, "fluent": _fluent, "emojione": _emojione, "fxemoji": _fxemoji,
    }  # fmt: skip
    for name, found in vectors.items():
        for code, text in found():
            try:
                yield name, code, Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text, width=96, height=96))))
            except (ValueError, OSError):
                continue


def _openmoji() -> Iterator[tuple[str, str]]:
    for path in sorted((sources.fetch(sources.OPENMOJI) / "package/color/svg").glob("*.svg")):
        yield plain(path.stem), path.read_text()


def _fluent() -> Iterator[tuple[str, str]]:
    for path in sorted((sources.fetch(sources.FLUENT) / "package/assets").glob("*.svg")):
        yield plain(path.stem), path.read_text()


def _iconify(package: sources.Package) -> Iterator[tuple[str, str]]:
    """Sets that are one JSON file, with names in place of codes."""
    found = json.loads((sources.fetch(package) / "package/icons.json").read_text())
    codes = {re.sub(r"[^a-z0-9]+", "-", p.name).strip("-"): plain(p.code) for p in load()[0]}
    width, height = found.get("width", 16), found.get("height", 16)
    for name, icon in found["icons"].items():
        if name in codes:
            size = f"{icon.get('width', width)} {icon.get('height', height)}"
            yield codes[name], f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}">{icon["body"]}</svg>'


def _emojione() -> Iterator[tuple[str, str]]:
    return _iconify(sources.EMOJIONE)


def _fxemoji() -> Iterator[tuple[str, str]]:
    return _iconify(sources.FXEMOJI)


def on_white(image: Image.Image, side: int = SIDE) -> np.ndarray:
    """[3, side, side] of -1 to 1, the drawing cut out and made as large as fits."""
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    rgb = ground.convert("RGB")
    box = Image.fromarray((np.asarray(rgb).min(-1) < 250).astype(np.uint8) * 255).getbbox() or (0, 0, *image.size)
    cut = rgb.crop(box)
    longest = max(cut.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(cut, ((longest - cut.size[0]) // 2, (longest - cut.size[1]) // 2))
    inner = square.resize((side - 4, side - 4), Image.Resampling.BOX if longest > side else Image.Resampling.BICUBIC)
    whole = Image.new("RGB", (side, side), "white")
    whole.paste(inner, (2, 2))
    return np.asarray(whole, np.float32).transpose(2, 0, 1) / 127.5 - 1


class Judge(nn.Module):
    """A small residual network."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (32, 64, 128, 256)
        self.first = nn.Conv2d(3, widths[0], 3, padding=1)
        self.stages = nn.ModuleList()
        for before, width in zip((widths[0], *widths), widths, strict=False):
            self.stages.append(nn.ModuleList([
                nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width),
                nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
            ]))  # fmt: skip
        self.last = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        for down, norm, conv, norm2 in self.stages:
            x = F.relu(norm(down(x)))
            x = x + F.relu(norm2(conv(x)))
        return self.last(F.dropout(x.mean((2, 3)), 0.2, self.training))


def _varied(x: Tensor) -> Tensor:
    """Turned, scaled, shifted, mirrored, in other colours, blurred, with noise and gaps."""
    b = len(x)
    angle, scale = torch.randn(b) * 0.2, torch.exp(torch.randn(b) * 0.15)
    flip = (torch.rand(b) < 0.5).float() * -2 + 1
    matrix = torch.zeros(b, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = angle.cos() * scale * flip, -angle.sin() * scale
    matrix[:, 1, 0], matrix[:, 1, 1] = angle.sin() * scale * flip, angle.cos() * scale
    matrix[:, :, 2] = torch.randn(b, 2) * 0.06
    x = 1 + F.grid_sample(x - 1, F.affine_grid(matrix, list(x.shape), align_corners=False), align_corners=False)
    mix = torch.eye(3) + torch.randn(b, 3, 3) * 0.15 * (torch.rand(b, 1, 1) < 0.7)
    x = 1 + torch.einsum("bij,bjhw->bihw", mix, x - 1)
    gray = (torch.rand(b, 1, 1, 1) < 0.1).float()
    x = gray * x.mean(1, keepdim=True) + (1 - gray) * x
    soft = F.avg_pool2d(x, 3, 1, 1)
    blur = torch.rand(b, 1, 1, 1) * (torch.rand(b, 1, 1, 1) < 0.5)
    x = blur * soft + (1 - blur) * x
    x = x + torch.randn_like(x) * 0.1 * torch.rand(b, 1, 1, 1)
    row, column = torch.randint(0, SIDE - 12, (2, b)).tolist()
    for i in range(0, b, 3):
        x[i, :, row[i] : row[i] + 12, column[i] : column[i] + 12] = 1
    return x


def gathered() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Pictures [n, 3, 48, 48], the number of what each shows, and the codes of what there is."""
    known = {plain(p.code): p for p in load()[0] if p.group in (0, *_THINGS)}
    found: dict[str, list[np.ndarray]] = {}
    sets: dict[str, set[str]] = {}
    for name, code, image in drawings():
        if code in known:
            found.setdefault(code, []).append(on_white(image))
            sets.setdefault(code, set()).add(name)
    codes = sorted(code for code in found if len(sets[code]) >= 2)
    pictures = np.stack([picture for code in codes for picture in found[code]])
    return pictures, np.array([i for i, code in enumerate(codes) for _ in found[code]]), codes


def train(steps: int) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    pictures, labels, codes = gathered()
    print(len(pictures), "drawings of", len(codes), "things", flush=True)
    model = Judge(len(codes)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    chance = np.random.default_rng(1)
    for step in range(steps):
        picked = chance.integers(0, len(pictures), 96)
        x = _varied(torch.from_numpy(pictures[picked])).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            said = model(x)
        loss = F.cross_entropy(said.float(), torch.from_numpy(labels[picked]), label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 200) * min(1.0, (steps - step) / (0.6 * steps))
        optimiser.step()
        if step % 200 == 0 or step == steps - 1:
            print(step, round(loss.item(), 3), "on Noto itself", noto_score(model, codes), flush=True)
            torch.save({"model": model.state_dict(), "codes": codes}, sources.HOME / "judge.pt")


def noto_score(model: Judge, codes: list[str]) -> tuple[float, float]:
    """Top 1 and top 5 among all things, of the font that the drawing model learnt from: how well it can be judged at all."""
    pictograms, pictures = load()
    where = {code: i for i, code in enumerate(codes)}
    known = [(where[plain(p.code)], i) for i, p in enumerate(pictograms) if plain(p.code) in where]
    x = np.stack([on_white(unmultiplied(pictures[i])) for _, i in known[::4]])
    return ranks(model, x, np.array([label for label, _ in known[::4]]), np.arange(len(codes)))


def unmultiplied(picture: np.ndarray) -> Image.Image:
    real = picture.astype(np.float32)
    colours = (real[..., :3] / np.maximum(real[..., 3:], 1) * 255).clip(0, 255)
    return Image.fromarray(np.concatenate([colours, real[..., 3:]], -1).astype(np.uint8))


@torch.no_grad()
def ranks(model: Judge, x: np.ndarray, labels: np.ndarray, among: np.ndarray) -> tuple[float, float]:
    """How often the label is the first, and one of the first five, among the things of those numbers."""
    model.eval()
    said = torch.cat([model(torch.from_numpy(part)) for part in np.array_split(x, max(1, len(x) // 64))]).numpy()
    model.train()
    rank = (said[:, among] > said[np.arange(len(x)), labels][:, None]).sum(1)
    return round(float((rank == 0).mean()), 3), round(float((rank < 5).mean()), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    train(parser.parse_args().steps)


if __name__ == "__main__":
    main()
