"""The drawing model: a small transformer that turns noise into the latents of a pictogram, told what by a caption's vectors.

Latents are [squares=64, numbers=64] (see compose.Code). Time runs from 0, all noise, to 1, the picture, which is what the
network predicts.

Most of the capacity is where it costs little: once for a caption its vectors become a canvas, a first idea of the picture.
The canvas chooses among the words what one thing, and another, are (`Canvas.chosen`), unfolds both into pictures of their own,
and puts them together: whole, mirrored, or half as large in one of six places. The code of pictures is linear (compose.Code),
and so are these: what was learnt of a thing holds wherever it stands. The blocks take the canvas in, and words by
cross-attention.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    squares: int = 64
    numbers: int = 64
    text: int = 384
    words: int = 12
    width: int = 256
    blocks: int = 5
    heads: int = 4
    canvas: int = 832
    context: int = 256

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def normal(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],))


def attend(q: Tensor, k: Tensor, v: Tensor, absent: Tensor | None = None) -> Tensor:
    """Attention of [b, h, n, d] to [b, h, m, d]; `absent` [b, 1, 1, m] is added to the scores."""
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    if absent is not None:
        scores = scores + absent
    return scores.softmax(-1).to(v.dtype) @ v


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.tune = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.ask = nn.Linear(width, width, bias=False)
        self.told = nn.Linear(width, 2 * width, bias=False)
        self.heard = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.gain = nn.Parameter(torch.full((2, 1, self.heads, 1, 1), 1.0))
        for layer in (self.tune, self.heard):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.tune.bias)

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        b, n, _ = x.shape
        return x.view(b, n, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor, about: Tensor, words: Tensor, absent: Tensor) -> Tensor:
        b, n, width = x.shape
        shift, scale, gate, shift2, scale2, gate2 = self.tune(about)[:, None].chunk(6, -1)
        q, k, v = self.split(self.qkv(normal(x) * (1 + scale) + shift), 3)
        mixed = attend(normal(q) * self.gain[0], normal(k), v)
        x = x + (1 + gate) * self.out(mixed.transpose(1, 2).reshape(b, n, width))
        (q,) = self.split(self.ask(normal(x)), 1)
        k, v = self.split(self.told(words), 2)
        mixed = attend(normal(q) * self.gain[1], normal(k), v, absent)
        x = x + self.heard(mixed.transpose(1, 2).reshape(b, n, width))
        return x + (1 + gate2) * self.down(F.gelu(self.up(normal(x) * (1 + scale2) + shift2), approximate="tanh"))


PLACES = ((2, 2), (2, 0), (2, 4), (0, 2), (4, 0), (4, 4))  # of a thing of half size: row and column of its first square


class Canvas(nn.Module):
    """The first idea of a picture. `halved` [4 * numbers, numbers] writes four squares as one, `turned` [numbers, numbers] a
    square mirrored, `empty` [numbers] is a square with nothing in it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        numbers, text = shape.numbers, shape.text
        self.context = nn.Linear(3 * text, shape.context)
        self.key = nn.Linear(text, 2 * 2 * 32)
        self.order = nn.Parameter(torch.randn(shape.words, 2 * 2 * 32) * 0.1)
        self.query = nn.Linear(shape.context, 2 * 2 * 32)
        self.whole = nn.Linear(shape.context, 2)
        self.gates = nn.Linear(shape.context, 2 * (2 + len(PLACES)))
        self.idea = nn.Linear(3 * text, shape.canvas)
        self.think = nn.Linear(shape.canvas, 2 * shape.canvas)
        self.thought = nn.Linear(shape.canvas, shape.canvas)
        self.unfold = nn.Linear(shape.canvas, shape.squares * numbers)
        for name, sides in (("halved", (4 * numbers, numbers)), ("turned", (numbers, numbers)), ("empty", (numbers,))):
            self.register_buffer(name, torch.zeros(sides))
        with torch.no_grad():
            self.gates.bias.fill_(-3.0)
            self.gates.bias[0] = 3.0

    def chosen(self, sentence: Tensor, words: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """For two things the vectors that say what they are [b, 2, 3 * text], and how much of each stands where [b, 2, 8]."""
        b, n, _ = words.shape
        words = words * given[..., None]
        each = words / given.sum(1).clamp(min=1)[:, None, None]
        drift = torch.linspace(-1, 1, n)[:, None]
        context = F.gelu(self.context(torch.cat([sentence, each.sum(1), (each * drift).sum(1) * 2], -1)), approximate="tanh")
        keys = (self.key(words) + self.order).view(b, n, 4, 32).transpose(1, 2)
        scores = (keys @ self.query(context).view(b, 4, 32, 1)).squeeze(-1) * 32**-0.5 + (given - 1)[:, None] * 1e4
        picked = (scores.softmax(-1).to(words.dtype) @ words).view(b, 2, -1)
        whole = self.whole(context).sigmoid()[..., None] * sentence[:, None]
        return torch.cat([whole, picked], -1), self.gates(context).sigmoid().view(b, 2, -1)

    def things(self, chosen: Tensor) -> Tensor:
        """What is said of a thing [b, 2, 3 * text] as a picture [b, 2, 8, 8, numbers], less the empty one."""
        x = F.gelu(self.idea(chosen), approximate="tanh")
        gate, value = self.think(normal(x)).chunk(2, -1)
        x = normal(x + self.thought(F.gelu(gate, approximate="tanh") * value))
        return self.unfold(x).view(len(chosen), 2, 8, 8, -1)

    def forward(self, sentence: Tensor, words: Tensor, given: Tensor) -> Tensor:
        """Latents [b, squares, numbers]."""
        chosen, gates = self.chosen(sentence, words, given)
        things = self.things(chosen)
        b, numbers = len(things), things.shape[-1]
        mixed = torch.einsum("btp,btyxn->bpyxn", gates.to(things.dtype), things)
        whole = mixed[:, 0] + mixed[:, 1].flip(2) @ self.turned
        four = mixed[:, 2:].view(b, -1, 4, 2, 4, 2, numbers).transpose(3, 4).reshape(b, -1, 4, 4, 4 * numbers)
        small = four @ self.halved
        for i, (row, column) in enumerate(PLACES):
            whole = whole + F.pad(small[:, i], (0, 0, column, 4 - column, row, 4 - row))
        return (whole + self.empty).view(b, -1, numbers)


class Drawer(nn.Module):
    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        width = shape.width
        self.enter = nn.Linear(shape.numbers, width)
        self.place = nn.Parameter(torch.randn(shape.squares, width) * 0.02)
        self.order = nn.Parameter(torch.randn(shape.words, width) * 0.02)
        self.word = nn.Linear(shape.text, width)
        self.start = nn.Parameter(torch.randn(1, width) * 0.02)  # one word that is always there
        self.nothing = nn.Parameter(torch.zeros(shape.text))  # the vector of no caption
        self.about = nn.Linear(shape.text, width)
        self.when = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.canvas = Canvas(shape)
        self.paint = nn.Linear(shape.numbers, width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.leave = nn.Linear(width, shape.numbers)
        self.register_buffer("rates", torch.exp(torch.linspace(0, 6, 32)), persistent=False)
        nn.init.zeros_(self.leave.weight)

    def told(self, sentence: Tensor, given: Tensor) -> Tensor:
        """The sentence's vector, or where there is no word at all the vector of no caption."""
        asked = given[:, :1]
        return sentence * asked + self.nothing * (1 - asked)

    def first(self, sentence: Tensor, words: Tensor, given: Tensor) -> Tensor:
        """The picture as the canvas alone has it: what is taught before anything else."""
        return self.canvas(self.told(sentence, given), words, given)

    def forward(self, noisy: Tensor, time: Tensor, sentence: Tensor, words: Tensor, given: Tensor) -> Tensor:
        """The picture [b, squares, numbers] foreseen in `noisy` at `time` [b].

        sentence [b, text] and words [b, words, text] are whitened vectors; given [b, words] is 1 where there is a word. A
        caption that has no word at all is no caption: the unguided way.
        """
        b = noisy.shape[0]
        sentence = self.told(sentence, given)
        angles = time[:, None] * self.rates
        about = F.silu(self.when(torch.cat([angles.sin(), angles.cos()], -1)) + self.about(sentence))
        canvas = self.canvas(sentence, words, given)
        told = torch.cat([self.start.expand(b, 1, -1), self.word(words) + self.order], 1)
        absent = (F.pad(given, (1, 0), value=1.0) - 1)[:, None, None] * 1e4
        told = normal(told)
        x = self.enter(noisy) + self.place + self.paint(canvas)
        for block in self.blocks:
            x = block(x, about, told, absent)
        return self.leave(normal(x)) + canvas
