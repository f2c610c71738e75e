"""Finding the bad chunk of a file whose whole has not the digest it should have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from freehold.store import disk
from freehold.store.sources.journal import State
from freehold.store.store import digest_of

_PIECE = 1 << 20


def damaged(part: Path, state: State) -> list[int]:
    """The chunks that are not what came over the network: the disk, or who wrote to it, has changed them."""
    with part.open("rb") as file:
        bad = []
        for number in range(state.count):
            begin, end = state.span(number)
            file.seek(begin)
            digest = hashlib.sha256()
            while begin < end and (piece := file.read(min(_PIECE, end - begin))):
                digest.update(piece)
                begin += len(piece)
            if state.done.get(number) != digest.hexdigest():
                bad.append(number)
    return bad


def other_version(
    part: Path, state: State, ranged: Callable[[int, int], bytes], digest: str, write: Callable[[State], None]
) -> bool:
    """Fetches chunk after chunk again, for as long as none comes as another; whether the file then has the digest.

    A byte that flipped on the way is in a chunk that comes otherwise the second time. Only the whole file's digest is known, so
    the chunks are asked for in turn: on average half of them.
    """
    for number in range(state.count):
        begin, end = state.span(number)
        again = ranged(begin, end)
        found = hashlib.sha256(again).hexdigest()
        if found == state.done[number]:
            continue
        with disk.translated(), part.open("r+b") as file:
            file.seek(begin)
            file.write(again)
            file.flush()
            os.fsync(file.fileno())
        state.done[number] = found
        write(state)
        if digest_of(part) == digest:
            return True
    return False
