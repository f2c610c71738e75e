"""`freehold say`: text to speech, played or written to a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from freehold.cli.client import Client
from freehold.cli.output import print_json, print_table, printable
from freehold.cli.players import player
from freehold.cli.session import Session, with_session
from freehold.cli.wav import finished

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
_ENDINGS = {".ogg": "opus", ".oga": "opus", ".m4a": "aac", ".wave": "wav", ".raw": "pcm"} | {
    f".{name}": name for name in FORMATS
}
_LONGEST = 10 * 2**20  # characters that are read from a pipe; the server has a limit of its own
_MODEL = "tts-1"


@click.command(
    epilog="""\b
Examples:
  freehold say "Good morning."
  freehold say "Guten Morgen." --voice de -o morning.mp3
  cat notes.txt | freehold say --speed 1.5 -o notes.opus
  freehold say --voices"""
)
@click.argument("text", required=False)
@click.option("-o", "--output", metavar="FILE", help="File to write; - is standard output.  [default: play it, else out.mp3]")
@click.option("--voice", default="alloy", show_default=True, help="One of OpenAI's names, a language, or a voice of the model.")
@click.option("--model", help="Speech model.  [default: the server's]")
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Format of the file.  [default: as its name ends, else mp3]")
@click.option("--speed", type=click.FloatRange(0.25, 4), default=1.0, show_default=True, help="How fast, as a factor.")
@click.option("--voices", is_flag=True, help="List the voices instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the voices as JSON.")
@with_session("none")
def say(
    session: Session,
    text: str | None,
    output: str | None,
    voice: str,
    model: str | None,
    kind: str | None,
    speed: float,
    voices: bool,
    as_json: bool,
) -> None:
    """Speak a text, or write it to a file as speech."""
    if voices or as_json:
        _list(session.server(), as_json)
        return
    body = {"model": model or _MODEL, "input": _words(text), "voice": voice, "speed": speed}
    if output is not None:
        body["response_format"] = kind or _ENDINGS.get(Path(output).suffix.lower(), "mp3")
        _write(session.server(), body, output)
        return
    found = player() if kind is None else None
    if found is None:
        kind = kind or "mp3"
        path = _free(kind)
        _write(session.server(), {**body, "response_format": kind}, str(path))
        why = "" if player() else "; no player (ffplay, mpv, aplay, afplay) was found"
        print(f"Wrote {path}{why}.")
        return
    found.play(_spoken(session.server(), {**body, "response_format": "wav"}))


def _words(text: str | None) -> str:
    """The text given, or what is piped in. Raises UsageError when there is none."""
    if text in (None, "-") and not sys.stdin.isatty():
        text = sys.stdin.read(_LONGEST)
    if text is None:
        raise click.UsageError("There is nothing to say: give a text, or pipe one in.")
    if not text.strip():
        raise click.UsageError("The text is empty.")
    return text


def _spoken(server: Client, body: Mapping[str, Any]) -> Iterator[bytes]:
    return server.pieces("/v1/audio/speech", body)


def _write(server: Client, body: Mapping[str, Any], output: str) -> None:
    """Writes the speech. A file is there in whole or not at all."""
    if output == "-":
        for piece in _spoken(server, body):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(_spoken(server, body))
        if body["response_format"] == "wav":
            finished(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _free(kind: str) -> Path:
    """out.mp3, or the first of out-2.mp3, out-3.mp3 … that is not there."""
    path, number = Path(f"out.{kind}"), 1
    while path.exists():
        number += 1
        path = Path(f"out-{number}.{kind}")
    return path


def _list(server: Client, as_json: bool) -> None:
    answer = server.get("/v1/audio/voices")
    if as_json:
        print_json(answer["data"])
        return
    columns = ("id", "model", "language", "gender", "name")
    rows = [[str(voice.get(column) or "") for column in columns] for voice in answer["data"]]
    print_table([column.upper() for column in columns], rows)
    for model, variants in answer.get("variants", {}).items():
        print(printable(f"\n{model} also takes a variant behind a plus, as in en-us+f3: {', '.join(variants)}"))
