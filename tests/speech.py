"""Recorded speech to test with, and how well it is heard. The clips are in the starter model's wheel, pinned like the model."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from freehold.store.sources import pypi
from freehold.store.starter import STARTERS, Member
from tests.conftest import CACHE

HEARS = "moonshine:tiny-en"
_ASSETS = "moonshine_voice/assets"
_CLIPS = (
    Member(f"{_ASSETS}/two_cities.wav", "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e", 4_260_326),
    Member(f"{_ASSETS}/beckett.wav", "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61", 318_978),
    Member(f"{_ASSETS}/endgame_nagg_nell.wav", "78f44dc6d3da32ecab0c37f391700f0569f4612b8e0be2ecbaf33e1d3d566474", 1_357_352),
)
TWO_CITIES = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness,
it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness, it was
the spring of hope, it was the winter of despair, we had everything before us, we had nothing before us, we were all going
direct to Heaven, we were all going direct the other way – in short,
the period was so far like the present period, that some of its noisiest
authorities insisted on its being received, for good or for evil, in the superlative degree of comparison only."""
BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."


def clip(name: str) -> Path:
    """A recording, fetched once for this machine."""
    folder = CACHE / "clips"
    if not all((folder / member.name).is_file() for member in _CLIPS):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            files = pypi.fetch(replace(STARTERS[HEARS], members=_CLIPS), Path(scratch), lambda progress: None)
            for found in files.values():
                shutil.move(found, folder / found.name)
    return folder / name


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def word_errors(said: str, heard: str) -> float:
    """The word error rate: words that must be put in, taken out or exchanged, by the words that were said."""
    right, got = words(said), words(heard)
    row = list(range(len(got) + 1))
    for number, word in enumerate(right, 1):
        corner, row[0] = row[0], number
        for place, other in enumerate(got, 1):
            corner, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, corner + (word != other))
    return row[-1] / len(right)
