"""What was said, in the forms that OpenAI's transcription endpoints answer with."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.protocol import sse
from freehold.protocol.languages import NAMES

CONTENT_TYPES = {
    "json": "application/json",
    "verbose_json": "application/json",
    "diarized_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


@dataclass(frozen=True)
class Word:
    """A word from `start` to `end`, in seconds of the audio."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Segment:
    """Speech between two pauses: what was said from `start` to `end`, in seconds of the audio, and by whom, where that is
    known."""

    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()
    language: str = ""
    speaker: str = ""


@dataclass(frozen=True)
class Transcript:
    """All that was said in an audio of so many seconds; `language` is a code, "" where nobody
    knows."""

    segments: Sequence[Segment]
    seconds: float
    language: str = ""
    task: str = "transcribe"

    @property
    def text(self) -> str:
        return joined(segment.text for segment in self.segments)

    def render(self, form: str, granularities: Sequence[str] = ()) -> bytes:
        """The answer's body in one of the forms of CONTENT_TYPES."""
        match form:
            case "text":
                return f"{self.text}\n".encode()
            case "srt":
                return "".join(
                    f"{number}\n{_clock(each.start, ',')} --> {_clock(each.end, ',')}\n{_line(each.text)}\n\n"
                    for number, each in enumerate(self.segments, 1)
                ).encode()
            case "vtt":
                cues = (
                    f"{_clock(each.start, '.')} --> {_clock(each.end, '.')}\n{_cue(each.text)}\n\n" for each in self.segments
                )
                return ("WEBVTT\n\n" + "".join(cues)).encode()
            case "diarized_json":
                return json.dumps(self._diarized(), ensure_ascii=False).encode()
            case "verbose_json":
                return json.dumps(self._verbose(granularities), ensure_ascii=False).encode()
        return json.dumps({"text": self.text, "usage": usage(self.seconds)}, ensure_ascii=False).encode()

    def _diarized(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "duration": round(self.seconds, 3),
            "text": self.text,
            "segments": [_spoken(number, each) for number, each in enumerate(self.segments)],
            "usage": usage(self.seconds),
        }

    def _verbose(self, granularities: Sequence[str]) -> dict[str, Any]:
        """Of a segment's statistics only what is known: its makers publish the others, the engine does not tell them."""
        body: dict[str, Any] = {
            "task": self.task,
            "language": NAMES.get(self.language, self.language),
            "duration": round(self.seconds, 3),
            "text": self.text,
        }
        if "word" in granularities:
            words = [word for each in self.segments for word in each.words]
            body["words"] = [{"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)} for word in words]
        if "segment" in granularities or not granularities:
            body["segments"] = [_segment(number, each) for number, each in enumerate(self.segments)]
        return body | {"usage": usage(self.seconds)}


def joined(texts: Iterable[str]) -> str:
    """Texts of neighbouring pieces as one: with a space between, except in scripts that use none."""
    whole = ""
    for text in filter(None, (text.strip() for text in texts)):
        whole += text if not whole or spaceless(whole[-1]) or spaceless(text[0]) else f" {text}"
    return whole


def delta(text: str, of: Segment, number: int) -> bytes:
    """OpenAI's events, with one for the segment where it is known who speaks; a delta's `start` and `end` are Freehold's own,
    so that a stream makes subtitles, too."""
    told = {"type": "transcript.text.delta", "delta": text, "start": round(of.start, 3), "end": round(of.end, 3)}
    if not of.speaker:
        return sse.encode(told)
    segment = _spoken(number, of)
    return sse.encode({**told, "segment_id": segment["id"]}) + sse.encode(segment)


def done(text: str, seconds: float) -> bytes:
    """`duration` is Freehold's own: OpenAI's `usage` counts tokens in a stream, and these models have none."""
    return sse.encode({"type": "transcript.text.done", "text": text, "duration": round(seconds, 3)})


def usage(seconds: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(seconds, 3)}


def _spoken(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{number:03}",
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "speaker": segment.speaker,
    }


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    raw = segment.text.encode()
    return {
        "id": number,
        "seek": round(segment.start * 100),  # frames of 10 ms, as Whisper counts
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "temperature": 0.0,
        "compression_ratio": round(len(raw) / len(zlib.compress(raw)), 4),
    }


def _clock(seconds: float, mark: str) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{mark}{whole % 1000:03}"


def _line(text: str) -> str:
    """A cue ends at an empty line, so a text is one line."""
    return " ".join(text.split())


def _cue(text: str) -> str:
    """WebVTT takes `<` for a tag, `&` for an entity (https://www.w3.org/TR/webvtt1/#webvtt-cue-text)."""
    return _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def spaceless(letter: str) -> bool:
    """Whether it is of Chinese, Japanese or Thai, which put no spaces between words."""
    return any(low <= letter <= high for low, high in (("\u2e80", "\u312f"), ("\u31a0", "\u9fff"), ("\uff00", "\uffef")))
