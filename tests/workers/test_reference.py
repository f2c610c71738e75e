"""sherpa-onnx and Moonshine's own library hear the same words in the same pieces of speech."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from freehold.store.sources import pypi
from freehold.store.starter import STARTERS, Member
from freehold.store.store import Store
from freehold.workers.transcription import families
from freehold.workers.transcription.cutting import Cut, Cutter, Piece, Tape
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.recognise import Recogniser
from freehold.workers.transcription.vad import Detector, Sensitivity
from tests.conftest import CACHE
from tests.speech import HEARS, clip, word_errors, words
from tests.workers.hearing import samples

_PACKAGE, _LIBRARIES = "moonshine_voice", "moonshine_voice.libs"
_LIBRARY = (
    Member(f"{_PACKAGE}/libmoonshine.so", "fb1bd80f6909557dff337946c971ae48d58da28620cf15a861f6e8a9ff613556", 42_174_832),
    Member(
        f"{_LIBRARIES}/libonnxruntime-13ab8084.so.1",
        "c0995ae1102b871426e7bddf625451d6c19f12d0b6d79786218cbb77c2de865c",
        22_346_464,
    ),
    Member(f"{_PACKAGE}/transcriber.py", "c3a76f2d57728745c8aa254f98281802be11545145e511aff68e668dcf56557b", 33_246),
    Member(f"{_PACKAGE}/moonshine_api.py", "1cc0b81eda22e2115c7a62e6c6e8bc32ebb31b1ffbb2f47a63dd11f0d20015bc", 31_426),
    Member(f"{_PACKAGE}/errors.py", "90eb15bb1c5c60f687b08af9efa1bee6d8271b55b80c877a836a0981718cbf0f", 3_922),
    Member(f"{_PACKAGE}/utils.py", "16e370ca40e63539fd2f911a10d8b37b2b0de38967dbaba6a06cef4cbd332fbd", 7_279),
)


@pytest.fixture(scope="module")
def library() -> Path:
    """The library as its wheel has it, fetched once for this machine."""
    folder, members = CACHE / "reference", (*_LIBRARY, *STARTERS[HEARS].members)
    if not all((folder / member.path).is_file() for member in members):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            files = pypi.fetch(replace(STARTERS[HEARS], members=members), Path(scratch), lambda progress: None)
            for member in members:
                target = folder / member.path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(files[member.name], target)
    return folder


def cut(wav: Path) -> list[Piece]:
    """The pieces of a recording, as the worker cuts them."""
    sound = samples(wav.read_bytes(), RATE).astype(np.float32) / 32768
    tape, detector = Tape(), Detector(Sensitivity())
    tape.add(sound)
    cutter = Cutter(Cut(12, 12), tape)
    spans = [*detector.feed(sound), *detector.end()]
    return [piece for span in spans for piece in cutter.add(span)] + list(cutter.end())


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="it is for Linux on x86-64")
def test_three_recordings_are_heard_as_the_makers_library_hears_them(library: Path, starters: Path, tmp_path: Path) -> None:
    store = Store(starters)
    manifest = store.get(HEARS)
    folder = store.folder(manifest)
    assert folder is not None
    recogniser = Recogniser(families.load(folder, manifest.options, 1), 1)
    pieces = [piece for name in ("two_cities", "beckett", "endgame_nagg_nell") for piece in cut(clip(f"{name}.wav"))[:2]]
    assert len(pieces) == 5
    for number, piece in enumerate(pieces):
        piece.samples.tofile(tmp_path / f"{number}.f32")
    files = [str(tmp_path / f"{number}.f32") for number in range(len(pieces))]
    command = [sys.executable, str(Path(__file__).with_name("reference.py")), str(library), *files]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    theirs = [json.loads(line) for line in told]
    ours = [recogniser.submit(piece).result().text for piece in pieces]
    assert sum(words(one) == words(other) for one, other in zip(theirs, ours, strict=True)) >= len(pieces) - 1
    assert word_errors(" ".join(theirs), " ".join(ours)) <= 0.02
