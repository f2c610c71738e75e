"""Trains the way back from latents to pixels: the linear code's own, and what a small network adds to it at edges.

    python decoder.py [--steps 3000]      writes HOME/decoder.pt

The latents that it gets are a little wrong on purpose, as those are that the drawing model makes.
"""

from __future__ import annotations

import argparse
import itertools
import os

os.environ.setdefault("GOMP_SPINCOUNT", "300")
os.setpriority(os.PRIO_PROCESS, 0, 19)

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sources
from compose import COMPONENTS, Code, compositions
from pictograms import SIDE, load

WIDTH, FINE = 384, 16


class Decoder(nn.Module):
    """Latents [b, 64, 64] to pictures [b, 4, 128, 128], premultiplied, of 0 to 1."""

    def __init__(self, code: Code) -> None:
        super().__init__()
        self.plain = nn.Linear(COMPONENTS, 1024)
        with torch.no_grad():
            self.plain.weight.copy_(torch.from_numpy(code.basis * code.scale))
            self.plain.bias.copy_(torch.from_numpy(code.mean))
        self.around = nn.Conv2d(COMPONENTS, WIDTH, 3, padding=1)
        self.more = nn.Linear(WIDTH, 1024)
        self.fine = nn.Conv2d(4, FINE, 3, padding=1)
        self.edge = nn.Conv2d(FINE, 4, 3, padding=1)
        for layer in (self.more, self.edge):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, latents: Tensor) -> Tensor:
        b = len(latents)
        around = F.gelu(self.around(latents.transpose(1, 2).reshape(b, COMPONENTS, 8, 8)), approximate="tanh")
        cut = self.plain(latents) + self.more(around.flatten(2).transpose(1, 2))
        whole = cut.view(b, 8, 8, 16, 16, 4).permute(0, 5, 1, 3, 2, 4).reshape(b, 4, SIDE, SIDE)
        return whole + self.edge(F.gelu(self.fine(whole), approximate="tanh"))


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    steps = parser.parse_args().steps
    torch.manual_seed(1)
    torch.set_num_threads(1)
    pictograms, pictures = load()
    composed = [picture for _, _, picture in itertools.islice(compositions(pictograms, pictures, 2), 0, None, 12)]
    every = np.concatenate([pictures, np.stack(composed)])
    code = Code.load()
    model = Decoder(code)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    chance = np.random.default_rng(1)
    for step in range(steps):
        real = every[chance.integers(0, len(every), 12)]
        latents = torch.from_numpy(code.encode(real))
        latents = latents + torch.randn_like(latents) * 0.25 * torch.rand(len(latents), 1, 1)
        wanted = torch.from_numpy(real.astype(np.float32) / 255).permute(0, 3, 1, 2)
        with torch.autocast("cpu", torch.bfloat16):
            drawn = model(latents)
        drawn = drawn.float()
        loss = (drawn - wanted).abs().mean()
        loss = loss + sum((a - b).abs().mean() for a, b in zip(_slopes(drawn), _slopes(wanted), strict=True))
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 100) * min(1.0, (steps - step) / (0.4 * steps))
        optimiser.step()
        if step % 200 == 0:
            print(step, round(loss.item(), 4), flush=True)
            torch.save(model.state_dict(), sources.HOME / "decoder.pt")
    torch.save(model.state_dict(), sources.HOME / "decoder.pt")


if __name__ == "__main__":
    main()
