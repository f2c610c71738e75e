"""Writes the drawing model as the one file that is served: matrices in eight bits, the rest in half precision.

python export.py OUT.safetensors [--checkpoint HOME/flow/newest.pt]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import sources
from compose import Code
from data import Text
from model import Shape


def eight_bits(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """A matrix [rows, columns] as whole numbers, and the factor of each row that errs least of a few."""
    best: tuple[Tensor, Tensor, Tensor] | None = None
    top = matrix.abs().amax(1).clamp(min=1e-8)
    for part in (1.0, 0.95, 0.9, 0.85):
        scale = (top * part / 127).half().float()
        whole = (matrix / scale[:, None]).round().clamp(-127, 127)
        error = ((whole * scale[:, None] - matrix) ** 2).sum(1)
        if best is None:
            best = (whole, scale, error)
        better = error < best[2]
        best = (
            torch.where(better[:, None], whole, best[0]),
            torch.where(better, scale, best[1]),
            torch.where(better, error, best[2]),
        )
    return {name: best[0].to(torch.int8), f"{name}.scale": best[1].half()}


def weights(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    kept = torch.load(checkpoint)
    found: dict[str, Tensor] = {name: value for name, value in kept["smooth"].items() if name != "rates"}
    text, code = Text(), Code.load()
    for name, whitener in (("words", text.of_words), ("sentences", text.of_sentences)):
        found[f"{name}.mean"] = torch.from_numpy(whitener.mean).float()
        found[f"{name}.matrix"] = torch.from_numpy(whitener.matrix).float()
    for name in ("mean", "basis", "scale"):
        found[f"code.{name}"] = torch.from_numpy(getattr(code, name)).float()
    for name, value in torch.load(sources.HOME / "decoder.pt").items():
        found[name] = value.permute(0, 2, 3, 1).reshape(len(value), -1) if value.ndim == 4 else value
    notes = {"format": "pictogram-1", "samples": str(kept["samples"]), "steps": str(kept["step"]), "shape": str(Shape())}
    return found, notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=sources.HOME / "flow/newest.pt")
    options = parser.parse_args()
    found, notes = weights(options.checkpoint)
    written: dict[str, Tensor] = {}
    for name, value in found.items():
        if value.ndim == 2 and value.numel() > 20_000 and not name.endswith((".matrix", ".basis")):
            written |= eight_bits(name, value.float())
        else:
            written[name] = value.half() if value.ndim == 2 and name.endswith((".matrix", ".basis")) else value.float()
    save_file({name: value.contiguous() for name, value in written.items()}, options.out, notes)
    print(options.out, options.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
