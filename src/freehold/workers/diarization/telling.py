"""Tells who speaks when in a file. A program of its own, for each file.

    python -m freehold.workers.diarization.telling TASK < FILE

TASK is the number of an open file with JSON in it (Task). stdout: a line of JSON for each chunk of the file: its turns, as
[start, end, name] in seconds. It ends with 0, or with 3 and one line of JSON on stderr: {"message", "param", "code", "status"}.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from freehold.workers.confine import end_with_parent
from freehold.workers.diarization.voices import Voice, Voices
from freehold.workers.serve import Refused
from freehold.workers.transcription.cutting import quietest
from freehold.workers.transcription.decode import RATE, REFUSED
from freehold.workers.transcription.media import decoded
from freehold.workers.transcription.vad import Samples

_CHUNK, _SEARCHED = 300 * RATE, 30 * RATE  # samples of a chunk, and in how many before and after that it is cut
_MOST_HEARD = 60 * RATE  # samples of a voice in a chunk that it is known by
_LEAST_KNOWN, _MOST_KNOWN = RATE, 30 * RATE  # samples that a known voice has, and those of it that are listened to


@dataclass(frozen=True)
class Task:
    """`segmentation` and `embedding` are the models' paths; `seconds` the longest audio; voices are taken for the same up to a
    distance of `threshold`. `known` are the names of known voices with the open file that each is in."""

    segmentation: str
    embedding: str
    threads: int
    seconds: float
    threshold: float
    known: Mapping[str, int] = field(default_factory=dict)


def main() -> int:
    end_with_parent()
    with os.fdopen(int(sys.argv[1]), "rb") as order:
        task = Task(**json.load(order))
    try:
        with os.fdopen(0, "rb") as file:
            for turns in _told(task, file):
                print(json.dumps(turns), flush=True)  # noqa: T201
    except Refused as error:
        told = {"message": error.message, "param": error.param, "code": error.code, "status": error.status}
        print(json.dumps(told), file=sys.stderr)  # noqa: T201
        return REFUSED
    except BrokenPipeError:
        os._exit(0)  # nobody wants the rest
    return 0


def _told(task: Task, file: BinaryIO) -> Iterator[list[tuple[float, float, str]]]:
    ear = _Ear(task)
    known = {name: ear.known(name, number) for name, number in task.known.items()}
    voices, offset = Voices(known, 1 - task.threshold), 0
    with decoded(file, task.seconds) as audio:
        for chunk in _chunks(audio.samples):
            yield [(start + offset / RATE, end + offset / RATE, name) for start, end, name in ear.turns(chunk, voices)]
            offset += len(chunk)


def _chunks(pieces: Iterator[Samples]) -> Iterator[Samples]:
    held: list[Samples] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= _CHUNK + _SEARCHED:
            whole = np.concatenate(held)
            end = quietest(whole, _CHUNK - _SEARCHED, len(whole) - RATE)
            yield whole[:end]
            held = [whole[end:]]
            length = len(held[0])
    if length:
        yield np.concatenate(held)


class _Ear:
    """The models, loaded."""

    def __init__(self, task: Task):
        import sherpa_onnx

        pyannote = sherpa_onnx.OfflineSpeakerSegmentationPyannoteModelConfig(model=task.segmentation)
        embedding = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=task.embedding, num_threads=task.threads)
        self._diariser: Any = sherpa_onnx.OfflineSpeakerDiarization(
            sherpa_onnx.OfflineSpeakerDiarizationConfig(
                segmentation=sherpa_onnx.OfflineSpeakerSegmentationModelConfig(pyannote=pyannote, num_threads=task.threads),
                embedding=embedding,
                clustering=sherpa_onnx.FastClusteringConfig(num_clusters=-1, threshold=task.threshold),
            )
        )
        self._extractor: Any = sherpa_onnx.SpeakerEmbeddingExtractor(embedding)

    def turns(self, samples: Samples, voices: Voices) -> list[tuple[float, float, str]]:
        """Who speaks from when to when, in seconds of the samples, in order."""
        found = [
            (each.start, min(each.end, len(samples) / RATE), each.speaker)
            for each in self._diariser.process(samples).sort_by_start_time()
        ]
        speakers = list(dict.fromkeys(speaker for _, _, speaker in found))
        heard = [self._voice([samples[int(s * RATE) : int(e * RATE)] for s, e, by in found if by == each]) for each in speakers]
        names = dict(zip(speakers, voices.name(heard), strict=True))
        return [(start, end, names[speaker]) for start, end, speaker in found if end > start]

    def known(self, name: str, number: int) -> Voice:
        """The voice in an open file. Raises Refused for one in which there is none."""
        pieces, length = [], 0
        try:
            with os.fdopen(number, "rb") as file, decoded(file, 3600) as audio:
                for piece in audio.samples:
                    pieces.append(piece)
                    length += len(piece)
                    if length >= _MOST_KNOWN:
                        break
        except Refused as error:
            raise Refused(f"{name!r}: {error.message}", param="known_speaker_references", code=error.code) from None
        voice = self._voice(pieces) if length >= _LEAST_KNOWN else None
        if voice is None:
            raise Refused(f"{name!r}: a voice is known by a second of it, or more.", param="known_speaker_references")
        return voice

    def _voice(self, pieces: Sequence[Samples]) -> Voice | None:
        """What a voice is known by; None where too little of it is heard."""
        stream = self._extractor.create_stream()
        room = _MOST_HEARD
        for piece in pieces:
            stream.accept_waveform(RATE, piece[:room])
            room -= len(piece[:room])
        stream.input_finished()
        if not pieces or not self._extractor.is_ready(stream):
            return None
        return np.asarray(self._extractor.compute(stream), np.float32)


if __name__ == "__main__":
    sys.exit(main())
