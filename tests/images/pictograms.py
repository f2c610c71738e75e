"""A drawing model of the real shape, a hundred times smaller, with weights at random: it draws colourful noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WIDTH, BLOCKS, HEADS, CANVAS, CONTEXT = 32, 2, 2, 16, 8


def shapes() -> dict[str, tuple[int, ...]]:
    """Of all weights but the text's whiteners."""
    width = WIDTH
    found: dict[str, tuple[int, ...]] = {
        "place": (64, width),
        "order": (12, width),
        "start": (1, width),
        "nothing": (384,),
        "code.mean": (1024,),
        "code.basis": (1024, 64),
        "code.scale": (64,),
        "canvas.order": (12, 128),
        "canvas.halved": (256, 64),
        "canvas.turned": (64, 64),
        "canvas.empty": (64,),
    }
    layers = {
        "enter": (width, 64),
        "word": (width, 384),
        "about": (width, 384),
        "when.0": (width, 64),
        "when.2": (width, width),
        "canvas.context": (CONTEXT, 3 * 384),
        "canvas.key": (128, 384),
        "canvas.query": (128, CONTEXT),
        "canvas.whole": (2, CONTEXT),
        "canvas.gates": (16, CONTEXT),
        "canvas.idea": (CANVAS, 3 * 384),
        "canvas.think": (2 * CANVAS, CANVAS),
        "canvas.thought": (CANVAS, CANVAS),
        "canvas.unfold": (64 * 64, CANVAS),
        "paint": (width, 64),
        "leave": (64, width),
        "plain": (1024, 64),
        "around": (8, 9 * 64),
        "more": (1024, 8),
        "fine": (4, 9 * 4),
        "edge": (4, 9 * 4),
    }
    for i in range(BLOCKS):
        at = f"blocks.{i}."
        found[f"{at}gain"] = (2, 1, HEADS, 1, 1)
        layers |= {f"{at}tune": (6 * width, width), f"{at}up": (4 * width, width), f"{at}down": (width, 4 * width)}
        bare = {"qkv": 3 * width, "out": width, "ask": width, "told": 2 * width, "heard": width}
        found |= {f"{at}{name}.weight": (rows, width) for name, rows in bare.items()}
    for name, shape in layers.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return found


def tensors() -> dict[str, np.ndarray]:
    """Always the same. The basis of the code is orthogonal, so what is encoded is decoded."""
    chance = np.random.default_rng(0)
    found = {name: chance.normal(0, shape[-1] ** -0.5, shape).astype(np.float32) for name, shape in shapes().items()}
    for name in ("words", "sentences"):
        found |= {f"{name}.mean": np.zeros(384, np.float32), f"{name}.matrix": np.eye(384, dtype=np.float32) * 20}
    basis = np.linalg.qr(chance.normal(size=(1024, 64)))[0].astype(np.float32)
    found |= {"code.basis": basis, "code.scale": np.ones(64, np.float32), "code.mean": np.full(1024, 0.5, np.float32)}
    return found | {"plain.weight": basis, "plain.bias": found["code.mean"] * 0 + 0.5}


def write(path: Path, numbers: dict[str, np.ndarray]) -> Path:
    """As safetensors."""
    table, data = {}, b""
    kinds = {"float32": "F32", "float16": "F16", "int8": "I8"}
    for name, value in numbers.items():
        table[name] = {
            "dtype": kinds[str(value.dtype)],
            "shape": value.shape,
            "data_offsets": [len(data), len(data) + value.nbytes],
        }
        data += value.tobytes()
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)
    return path
