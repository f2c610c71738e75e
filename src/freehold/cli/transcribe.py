"""`freehold transcribe`: what is said in recordings, as text or subtitles."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from freehold.cli.client import Client, ServerError
from freehold.cli.output import print_json, printable
from freehold.cli.progress import board
from freehold.cli.session import Session, json_option, with_session
from freehold.errors import OperatorError
from freehold.protocol.transcripts import Segment, Transcript

_HEARD = re.compile(r": heard ([\d.]+)(?:/([\d.]+))?")
_PATH = "/v1/audio/transcriptions"


@dataclass(frozen=True)
class _Heard:
    """How far a file is, in seconds; `total` is 0 where the file does not say it."""

    done: int
    total: int
    stage: str = "transcribing"

    def describe(self) -> str:
        return f"{_clock(self.done)} of {_clock(self.total)}" if self.total else f"{_clock(self.done)} heard"


@click.command(
    epilog="""\b
Examples:
  freehold transcribe meeting.mp3
  freehold transcribe film.mp4 --format srt -o film.srt
  freehold transcribe *.wav --format vtt -o subtitles/"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["text", "srt", "vtt"]), default="text", show_default=True, help="Of what is printed."
)
@click.option("--model", default="whisper-1", help="Model to hear with.  [default: the server's default for transcription]")
@click.option("--language", metavar="CODE", help="The language that is spoken, such as en.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write to; of several recordings, a folder.  [default: print]",
)
@json_option
@with_session("none")
def transcribe(
    session: Session, files: tuple[Path, ...], form: str, model: str, language: str | None, output: Path | None, as_json: bool
) -> None:
    """Write down what is said in recordings."""
    if output is not None and len(files) > 1 and not output.is_dir():
        raise click.UsageError(f"{output} is not a folder, and there are several recordings.")
    server, asked = session.server(), {"model": model, "stream": "true"}
    if language:
        asked["language"] = language
    with board() as progress:
        heard = {file: _heard(server, file, asked, functools.partial(progress.show, file.name)) for file in files}
    if as_json:
        rows = {"transcripts": [_row(file, found) for file, found in heard.items()]}
        if output is None:
            print_json(rows)
        else:
            _write(output, json.dumps(rows, ensure_ascii=False, indent=2).encode())
        return
    for file, transcript in heard.items():
        body = transcript.render(form)
        if output is None:
            print((f"{file.name}:\n" if len(files) > 1 else "") + printable(body.decode()), end="")
        else:
            _write(output / f"{file.stem}.{'txt' if form == 'text' else form}" if output.is_dir() else output, body)


def _heard(server: Client, file: Path, asked: dict[str, str], show: Callable[[_Heard], None]) -> Transcript:
    """What is said in a file. Raises OperatorError for one that cannot be read or understood, with its name."""
    try:
        with file.open("rb") as opened, server.upload(_PATH, asked, opened) as response:
            return _followed(response, show)
    except OSError as error:
        raise OperatorError(f"{file} cannot be read: {error.strerror}.", "Name a file of sound or film.") from None
    except ServerError as error:
        raise ServerError(f"{file.name}: {error.message}", error.remedy, error.answered, error.code) from None


def _followed(response: Any, show: Callable[[_Heard], None]) -> Transcript:
    segments: list[Segment] = []
    for line in response:
        if far := _HEARD.match(line.decode("utf-8", "replace")):
            show(_Heard(int(float(far[1])), int(float(far[2] or 0))))
        if not line.startswith(b"data:"):
            continue
        try:
            event = json.loads(line[5:])
            if "error" in event:
                raise ServerError(str(event["error"].get("message", "The server ended with an error.")))
            if event["type"] == "transcript.text.delta":
                segments.append(Segment(event["delta"].strip(), float(event["start"]), float(event["end"])))
            elif event["type"] == "transcript.text.done":
                return Transcript(segments, float(event["duration"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ServerError("The server sent something that is no transcript.", "Is --url right?") from None
    raise ServerError("The answer broke off.", "Is the server still running?")


def _row(file: Path, transcript: Transcript) -> dict[str, Any]:
    segments = [{name: getattr(each, name) for name in ("start", "end", "text")} for each in transcript.segments]
    return {"file": str(file), "seconds": transcript.seconds, "text": transcript.text, "segments": segments}


def _write(path: Path, body: bytes) -> None:
    try:
        path.write_bytes(body)
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}.", "Choose another with -o.") from None


def _clock(seconds: int) -> str:
    hours = f"{seconds // 3600}:" if seconds >= 3600 else ""
    return f"{hours}{seconds // 60 % 60:02}:{seconds % 60:02}"
