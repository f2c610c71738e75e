"""A prompt for what stands between a prefix and a suffix, as tokens: a user's text is never read for marks, and other files
come whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freehold.errors import ContextLengthExceeded
from freehold.protocol.fim.families import Family

_SUFFIX_SHARE = 4  # of the room for both, a suffix gets a quarter where both are long


@dataclass(frozen=True)
class Extra:
    """A piece of another file, or of this one elsewhere; `path` may be empty."""

    path: str
    text: str


@dataclass(frozen=True)
class Fill:
    """What is to be filled in. `extras` are in the order of their use: the last is nearest to what is being written."""

    prefix: str
    suffix: str
    path: str = ""
    repo: str = ""
    extras: tuple[Extra, ...] = ()


def same_place(one: Fill, other: Fill) -> bool:
    """Whether two fills are of the same gap, with more or less written before it."""
    if one.path or other.path:
        return one.path == other.path
    return one.suffix == other.suffix and (one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix))


@dataclass(frozen=True)
class Texts:
    """A fill's texts, to be turned into tokens one by one, without reading marks in them. `head` stands before all, `here`
    before the prefix; both may be empty."""

    prefix: str
    suffix: str
    head: str
    here: str
    extras: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (self.prefix, self.suffix, self.head, self.here, *self.extras)


def texts_of(family: Family, fill: Fill) -> Texts:
    """The texts of a prompt, in which files have their own names."""
    if not fill.extras and not fill.path:
        return Texts(fill.prefix, fill.suffix, "", "", ())
    apart = bool(family.file)
    extras = tuple(_named(family, extra.path, extra.text, apart) for extra in fill.extras)
    here = ""
    if apart:
        here = f"{fill.path}\n" if fill.path else ""
    elif fill.path and extras:
        here = family.path.format(path=fill.path)
    return Texts(fill.prefix, fill.suffix, f"{fill.repo}\n" if family.repo and fill.repo else "", here, extras)


def _named(family: Family, path: str, text: str, apart: bool) -> str:
    if apart:
        return f"{path}\n{text}" if path else text
    return f"{family.path.format(path=path) if path else ''}{text}\n\n"


@dataclass(frozen=True)
class Tokens:
    """The tokens of a fill's texts. `begins` are those that the model wants before any prompt."""

    begins: tuple[int, ...]
    prefix: Sequence[int]
    suffix: Sequence[int]
    head: Sequence[int]
    here: Sequence[int]
    extras: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Filled:
    """The prompt's tokens. `extras` is how many of the other pieces are in it, `cut` how many tokens of prefix and suffix are
    not."""

    tokens: tuple[int, ...]
    extras: int
    cut: int


def filled(family: Family, marks: Mapping[str, Sequence[int]], tokens: Tokens, room: int) -> Filled:
    """The prompt in at most `room` tokens: what stands next to the gap first, then other pieces whole, from the last on.
    `marks` are the tokens of each mark.

    Raises ContextLengthExceeded when there is no room for a token of the prefix.
    """
    fixed = len(tokens.begins) + sum(len(marks[mark]) for mark in family.marks)
    apart = family.file and (tokens.here or tokens.extras)
    file = list(marks[family.file]) if family.file else []
    here = (file if apart else []) + list(tokens.here)
    left = room - fixed - len(here)
    if left < 1:
        raise ContextLengthExceeded(
            f"{room} tokens are left for a prompt, and filling in takes {fixed + len(here)} beside the text; ask for less.",
            param="max_tokens",
        )
    prefix, suffix = _shared(tokens.prefix, tokens.suffix, left)
    cut = len(tokens.prefix) + len(tokens.suffix) - len(prefix) - len(suffix)
    left -= len(prefix) + len(suffix)
    head = [*(marks[family.repo] if family.repo and tokens.head else ()), *tokens.head]
    chosen: list[list[int]] = []
    for extra in reversed(tokens.extras):
        piece = [*file, *extra]
        if len(piece) <= left - (len(head) if not chosen else 0):
            left -= len(piece) + (len(head) if not chosen else 0)
            chosen.insert(0, piece)
    before = [*(head if chosen else ()), *(token for piece in chosen for token in piece), *here]
    return Filled((*tokens.begins, *_ordered(family, marks, before, prefix, suffix)), len(chosen), cut)


def _ordered(
    family: Family, marks: Mapping[str, Sequence[int]], before: Sequence[int], prefix: Sequence[int], suffix: Sequence[int]
) -> tuple[int, ...]:
    """Other files stand before all where the family keeps files apart, else at the prefix's beginning."""
    outside, inside = (before, ()) if family.file else ((), before)
    first = (*marks[family.prefix], *inside, *prefix)
    second = (*marks[family.suffix], *suffix)
    last = tuple(marks[family.middle]) if family.middle else ()
    return (*outside, *first, *second, *last) if family.order == "psm" else (*outside, *second, *first, *last)


def _shared(prefix: Sequence[int], suffix: Sequence[int], room: int) -> tuple[Sequence[int], Sequence[int]]:
    """The prefix's end and the suffix's beginning that fit together."""
    if len(prefix) + len(suffix) <= room:
        return prefix, suffix
    behind = min(len(suffix), max(room // _SUFFIX_SHARE, room - len(prefix)))
    return prefix[-(room - behind) :], suffix[:behind]
