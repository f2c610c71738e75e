"""How speech is cut into pieces, words are made of tokens, and models are told what is wanted."""

from __future__ import annotations

import hashlib
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.workers.transcription import families
from freehold.workers.transcription.cutting import Cut, Cutter, Piece, Tape
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.families import FAMILIES, Asked, Model
from freehold.workers.transcription.recognise import Recogniser, words_of
from freehold.workers.transcription.vad import MODEL, Detector, Samples, Sensitivity, Span
from tests.speech import clip
from tests.workers.hearing import samples


def seconds(*spans: tuple[float, float]) -> list[Span]:
    return [Span(round(start * RATE), round(end * RATE)) for start, end in spans]


def pieces(spans: list[Span], length: float, cut: Cut) -> list[Piece]:
    tape = Tape()
    tape.add(np.arange(round(length * RATE), dtype=np.float32))
    cutter = Cutter(cut, tape)
    return [piece for span in spans for piece in cutter.add(span)] + list(cutter.end())


def test_speech_that_lies_close_together_is_one_piece() -> None:
    found = pieces(seconds((1, 3), (3.5, 8), (8.4, 9), (12, 13)), 20, Cut(longest=20, first=20, pause=2, padding=0.25))
    assert [(piece.start, piece.end) for piece in found] == [(1, 9), (12, 13)]
    assert [piece.offset for piece in found] == [0.75, 11.75]
    assert found[0].samples[0] == 0.75 * RATE
    assert len(found[0].samples) == 8.5 * RATE


def test_a_piece_is_no_longer_than_it_may_be_and_the_first_of_a_stream_is_short() -> None:
    spans = seconds((0, 4), (4.5, 9), (9.5, 14), (14.5, 19))
    assert [piece.end for piece in pieces(spans, 20, Cut(longest=10, first=10))] == [9, 19]
    assert [piece.end for piece in pieces(spans, 20, Cut(longest=10, first=5))] == [4, 14, 19]


def test_padding_takes_nothing_twice_and_does_not_make_a_piece_too_long() -> None:
    close = pieces(seconds((1, 11), (11.1, 21)), 25, Cut(longest=10, first=10, padding=0.25))
    assert [len(piece.samples) for piece in close] == [round(10.35 * RATE), round(10.15 * RATE)]
    assert close[0].samples[-1] + 1 == close[1].samples[0]
    whole = pieces(seconds((5, 33)), 60, Cut(padding=5))
    assert len(whole[0].samples) <= 29.4 * RATE


def test_a_tape_forgets_what_was_cut() -> None:
    tape = Tape()
    for _ in range(100):
        tape.add(np.zeros(RATE, np.float32))
        list(Cutter(Cut(), tape).advance(tape.length))
    assert tape.length == 100 * RATE
    assert len(tape.read(0, tape.length)) <= 4 * RATE
    cutter, most = Cutter(Cut(), tape), 0
    for second in range(100, 400):  # speech without a pause, which the detector parts
        tape.add(np.zeros(RATE, np.float32))
        if second % 20 == 0:
            list(cutter.add(Span((second - 20) * RATE, second * RATE)))
        most = max(most, len(tape.read(0, tape.length)))
    assert most <= 45 * RATE


def test_all_the_padding_that_was_asked_for_is_there_after_a_long_silence() -> None:
    tape, length = Tape(), 20
    cutter = Cutter(Cut(padding=5), tape)
    for second in range(length):
        tape.add(np.arange(second * RATE, (second + 1) * RATE, dtype=np.float32))
        assert not list(cutter.advance(tape.length))
    assert not list(cutter.add(Span(19 * RATE, 20 * RATE)))
    (piece,) = cutter.end()
    assert (piece.offset, piece.samples[0], piece.samples[-1]) == (14, 14 * RATE, 20 * RATE - 1)
    assert len(tape.read(0, tape.length)) <= 8 * RATE


def test_speech_without_a_pause_is_cut_all_the_same() -> None:
    """The loud parts of a reading, over and over."""
    sound = samples(clip("two_cities.wav").read_bytes(), RATE).astype(np.float32) / 32768
    frames = sound[: len(sound) // 320 * 320].reshape(-1, 320)
    power = (frames**2).mean(axis=1)
    loud: Samples = np.tile(frames[power > np.percentile(power, 45)].reshape(-1), 3)
    detector = Detector(Sensitivity())
    spans = [span for start in range(0, len(loud), 8_000) for span in detector.feed(loud[start : start + 8_000])]
    spans += detector.end()
    assert max(span.end - span.start for span in spans) <= 28.5 * RATE
    assert sum(span.end - span.start for span in spans) >= 0.9 * len(loud)


def test_pauses_are_found_where_they_are_however_the_samples_come() -> None:
    sound = samples(clip("beckett.wav").read_bytes(), RATE).astype(np.float32) / 32768
    found = []
    for step in (160, 512, RATE, len(sound)):
        detector = Detector(Sensitivity())
        spans = [span for start in range(0, len(sound), step) for span in detector.feed(sound[start : start + step])]
        found.append([*spans, *detector.end()])
    assert len(found[0]) >= 3
    assert all(spans == found[0] for spans in found)


def test_the_detector_is_the_one_that_its_makers_published() -> None:
    """silero_vad_16k_op15.onnx of the wheel silero-vad 6.2.3."""
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert digest == "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"
    assert "MIT License" in Path(str(MODEL)).with_suffix(".LICENSE").read_text()


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["▁It", "▁w", "as", "▁best"], ["It", "was", "best"]),
        ([" It", " w", "as", "."], ["It", "was."]),
        (["今", "日", "▁hello", "晴"], ["今", "日", "hello", "晴"]),
        (["he@@", "llo", "world"], ["hello", "world"]),
        (["▁", "It"], ["It"]),
        ([], []),
    ],
)
def test_words_are_made_of_tokens(tokens: list[str], words: list[str]) -> None:
    piece = Piece(10, 14, 9.75, np.zeros(5 * RATE, np.float32))
    found = words_of(tokens, [0.5 * number for number in range(len(tokens))], (), piece)
    assert [word.text for word in found] == words
    assert all(9.75 <= word.start <= word.end <= 14.75 for word in found)


def test_words_end_where_the_model_says_that_they_do() -> None:
    piece = Piece(0, 2, 0, np.zeros(2 * RATE, np.float32))
    found = words_of(["▁a", "▁b"], [0.1, 1.0], [0.2, 0.3], piece)
    assert [(word.start, word.end) for word in found] == [(0.1, pytest.approx(0.3)), (1.0, pytest.approx(1.3))]


class Engine:
    """What sherpa-onnx's recogniser is to the worker; it hears the settings that it was given."""

    def __init__(self, timed: bool = True):
        whisper = types.SimpleNamespace(language="", task="")
        self.config = types.SimpleNamespace(model_config=types.SimpleNamespace(whisper=whisper))
        self.recognizer = types.SimpleNamespace(set_config=lambda config: None)

    def create_stream(self) -> Any:
        return types.SimpleNamespace(accept_waveform=lambda rate, heard: None, result=None)

    def decode_stream(self, stream: Any) -> None:
        told = self.config.model_config.whisper
        stream.result = types.SimpleNamespace(text=f" {told.language} {told.task} ", lang="<|de|>", tokens=[], timestamps=[])


def test_whisper_is_told_the_language_and_the_task_of_each_request() -> None:
    recogniser = Recogniser(Model(FAMILIES["whisper"], Engine(), ("en", "de"), True, 28), 4)
    piece = Piece(0, 1, 0, np.zeros(RATE, np.float32))
    asked = [Asked("de"), Asked("en", translate=True), Asked()] * 10
    heard = [each.result() for each in [recogniser.submit(piece, each) for each in asked]]
    assert [segment.text for segment in heard[:3]] == ["de transcribe", "en translate", "transcribe"]
    assert heard[:3] * 10 == heard
    assert heard[0].language == "de"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "family"),
        ({"family": "parrot"}, "parrot"),
        ({"family": "whisper"}, "its files"),
        ({"family": "whisper", "files": {"encoder": "a"}}, "decoder, tokens"),
        ({"family": "sense-voice", "files": {"model": "a", "tokens": "b"}}, "not there"),
    ],
)
def test_a_model_that_is_not_whole_is_told_of(tmp_path: Path, options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        families.load(tmp_path, options, 1)
