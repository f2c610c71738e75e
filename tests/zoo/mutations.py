"""Damaged and hostile model files: small good ones with one thing, or a few, changed. The same seed gives the same files."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.zoo.anatomy import Field, fields
from tests.zoo.build import write
from tests.zoo.shapes import zoo

_BASES = ("llama-q4", "qwen3-moe", "mamba", "gemma2", "jina-bert", "deepseek2")
_EXTREMES = (0, 1, 2, 3, 7, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)

Way = Callable[[bytearray, list[Field], random.Random], str]


@dataclass(frozen=True)
class Mutation:
    """`name` tells what was done to which file; `embeds` whether the file it was made from is an embedding model."""

    name: str
    data: bytes
    embeds: bool


def mutations(folder: Path, count: int = 600, seed: int = 30) -> Iterator[Mutation]:
    """`count` files, made one by one. `folder` is for the good ones."""
    chance = random.Random(seed)
    shapes = [shape for shape in zoo() if shape.name in _BASES]
    goods = [(shape, data := write(shape, folder).read_bytes(), fields(data)) for shape in shapes]
    for number in range(count):
        shape, data, places = goods[number % len(goods)]
        how = _WAYS[(number // len(goods)) % len(_WAYS)]
        changed = bytearray(data)
        what = how(changed, places, chance)
        yield Mutation(f"{number:04}-{shape.name}-{what}", bytes(changed), shape.task == "embedding")


def _flips_in_header(data: bytearray, places: list[Field], chance: random.Random) -> str:
    times = chance.choice((1, 1, 2, 8, 64))
    for _ in range(times):
        data[chance.randrange(places[-1].at + 8)] ^= 1 << chance.randrange(8)
    return f"{times}-flips-in-header"


def _flips_in_data(data: bytearray, places: list[Field], chance: random.Random) -> str:
    times = chance.choice((1, 16, 4096))
    for _ in range(times):
        data[chance.randrange(places[-1].at + 8, len(data))] ^= 1 << chance.randrange(8)
    return f"{times}-flips-in-data"


def _no_numbers(data: bytearray, places: list[Field], chance: random.Random) -> str:
    """Weights that are not numbers, or infinite."""
    begin = chance.randrange(places[-1].at + 8, len(data) - 4096)
    data[begin : begin + 4096] = struct.pack("<f", chance.choice((float("nan"), float("inf"), -float("inf"), 1e38))) * 1024
    return "no-numbers"


def _cut(data: bytearray, places: list[Field], chance: random.Random) -> str:
    del data[chance.choice((chance.randrange(len(data)), chance.randrange(places[-1].at), len(data) - 1)) :]
    return "cut"


def _more(data: bytearray, places: list[Field], chance: random.Random) -> str:
    data += chance.randbytes(chance.choice((1, 31, 4096)))
    return "more"


def _set(kind: str) -> Way:
    def change(data: bytearray, places: list[Field], chance: random.Random) -> str:
        field = chance.choice([place for place in places if place.kind == kind])
        value = chance.choice(_EXTREMES) if chance.random() < 0.5 else _near(data, field, chance)
        data[field.at : field.at + field.size] = (value % 2 ** (8 * field.size)).to_bytes(field.size, "little")
        return f"{kind}-of-{field.name[:40]}"

    return change


def _near(data: bytearray, field: Field, chance: random.Random) -> int:
    """A value close to the right one: what is wrong by a little passes more checks."""
    value = int.from_bytes(data[field.at : field.at + field.size], "little")
    return chance.choice((value + 1, max(0, value - 1), value * 2, value // 2, value + 32, value ^ 1))


def _text(data: bytearray, places: list[Field], chance: random.Random) -> str:
    """Text of the same length: control characters, no UTF-8, another tensor's name."""
    field = chance.choice([place for place in places if place.kind == "text" and place.size])
    other = chance.choice([place for place in places if place.kind == "text" and place.size >= field.size])
    new = chance.choice((chance.randbytes(field.size), b"\0" * field.size, bytes(data[other.at : other.at + field.size])))
    data[field.at : field.at + field.size] = new
    return f"text-of-{field.name[:30]}"


def _swap(data: bytearray, places: list[Field], chance: random.Random) -> str:
    """Two fields of a size change places: two tensors' offsets, two keys' values."""
    kind = chance.choice(("offset", "value", "dimension", "type"))
    one = chance.choice([place for place in places if place.kind == kind])
    two = chance.choice([place for place in places if place.kind == kind and place.size == one.size])
    first, second = bytes(data[one.at : one.at + one.size]), bytes(data[two.at : two.at + two.size])
    data[one.at : one.at + one.size], data[two.at : two.at + two.size] = second, first
    return f"swap-of-{kind}s"


_WAYS: tuple[Way, ...] = (
    _flips_in_header,
    _flips_in_data,
    _no_numbers,
    _cut,
    _more,
    _set("count"),
    _set("length"),
    _set("type"),
    _set("value"),
    _set("value"),
    _set("value"),
    _set("dimension"),
    _set("offset"),
    _text,
    _swap,
)
