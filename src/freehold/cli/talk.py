"""`freehold talk`: a conversation by voice with the running server, through microphone and speaker or through files."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from freehold.cli.client import ServerError
from freehold.cli.output import printable
from freehold.cli.session import Session, with_session
from freehold.cli.sound import RATE, Speaker, microphone, player, read_wav, recorder, write_wav
from freehold.errors import OperatorError

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_ANSWER = 600.0  # seconds: beyond the server's own limits
_PIECE = 48_000  # bytes of a file in one event
_TRUNCATE = "truncate"  # its failure is none: there was less to be cut than it seemed
_QUIET = 10  # seconds without an event after the microphone has ended


@click.command(
    epilog="""\b
Examples:
  freehold talk
  freehold talk --headset --instructions "Answer in French."
  freehold talk --file question.wav -o answer.wav
"""
)
@click.option("--model", help="Model to talk to.  [default: the server's default chat model]")
@click.option("--instructions", help="What the model is told before all else.")
@click.option("--voice", help="Voice of the answers.  [default: alloy]")
@click.option("--language", help="What you speak, such as en.  [default: what the recogniser expects]")
@click.option("--headset", is_flag=True, help="The microphone does not hear the speaker: an answer can be interrupted.")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="One turn: what you say, as WAV.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="With --file: write the answer as WAV.")
@with_session("none")
def talk(
    session: Session,
    model: str | None,
    instructions: str | None,
    voice: str | None,
    language: str | None,
    headset: bool,
    file: Path | None,
    output: Path | None,
) -> None:
    """Talk with a model by voice."""
    if output is not None and file is None:
        raise click.UsageError("-o goes with --file.")
    audio: dict[str, Any] = {"input": {"transcription": {"language": language} if language else {}}}
    if voice:
        audio["output"] = {"voice": voice}
    settings: dict[str, Any] = {"type": "realtime", "audio": audio}
    if instructions:
        settings["instructions"] = instructions
    if file is not None:
        spoken = read_wav(file)
        with _line(session, model) as line:
            _one_turn(line, settings, spoken, output)
        return
    recorder(), player()  # what is missing is said before anything is loaded
    audio["input"]["turn_detection"] = {"type": "server_vad", "interrupt_response": headset}
    with _line(session, model) as line:
        _conversation(line, settings, headset)


class Line:
    """A session's socket: events out, events in."""

    def __init__(self, socket: ClientConnection):
        self._socket = socket

    def send(self, kind: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": kind, **fields}))

    def append(self, audio: bytes) -> None:
        self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def events(self, within: float, over: Callable[[], bool] | None = None) -> Iterator[dict[str, Any]]:
        """Events as they come, until the server closes. Where none comes for so many seconds, `over` may say that no other is
        awaited. Raises ServerError for one that tells of an error, and for none in time."""
        from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

        while True:
            try:
                event = json.loads(self._socket.recv(timeout=within))
            except ConnectionClosedOK:
                return
            except ConnectionClosedError as error:
                reason = error.rcvd.reason if error.rcvd and error.rcvd.reason else "The connection broke."
                raise ServerError(reason, "Is the server still running?") from None
            except TimeoutError:
                if over is not None:
                    if over():
                        return
                    continue
                raise ServerError("The server does not answer.", "Is it overloaded?") from None
            if event["type"] == "error" and event["error"].get("event_id") != _TRUNCATE:
                raise ServerError(event["error"]["message"], code=event["error"].get("code"))
            yield event

    def settle(self, settings: dict[str, Any]) -> None:
        self.send("session.update", session=settings)
        for event in self.events(_ANSWER):
            if event["type"] == "session.updated":
                return


@contextlib.contextmanager
def _line(session: Session, model: str | None) -> Iterator[Line]:
    chosen = model or session.client.version().get("default_chat") or "gpt-realtime"
    with session.client.socket("/v1/realtime", {"model": chosen}) as socket:
        yield Line(socket)


def _one_turn(line: Line, settings: dict[str, Any], spoken: bytes, output: Path | None) -> None:
    """Says what is in a file, prints both sides, and writes the answer."""
    settings["audio"]["input"]["turn_detection"] = None
    line.settle(settings)
    for start in range(0, len(spoken), _PIECE):
        line.append(spoken[start : start + _PIECE])
    line.send("input_audio_buffer.commit")
    line.send("response.create")
    answer = bytearray()
    for event in line.events(_ANSWER):
        if event["type"] == "response.output_audio.delta":
            answer += base64.b64decode(event["delta"])
        _print(event)
        if event["type"] == "response.done":
            break
    if output is not None:
        write_wav(output, bytes(answer))
        print(f"{output}: {len(answer) / 2 / RATE:.1f} s", file=sys.stderr)


def _conversation(line: Line, settings: dict[str, Any], headset: bool) -> None:
    """Listens and speaks until the microphone ends, or Ctrl-C."""
    line.settle(settings)
    print("Speak. Ctrl-C ends.", file=sys.stderr)
    speaker = Speaker()
    with microphone() as heard:
        ear = _Ear(line, heard, speaker, headset)
        ear.start()
        try:
            _speak(line, speaker, ear)
        except KeyboardInterrupt:
            print(file=sys.stderr)
        finally:
            speaker.stop()
    if ear.failure is not None:
        raise ear.failure


class _Ear(threading.Thread):
    """Sends what the microphone hears; silence instead while it would hear the speaker."""

    def __init__(self, line: Line, heard: Iterator[bytes], speaker: Speaker, headset: bool):
        super().__init__(daemon=True)
        self._line = line
        self._heard = heard
        self._speaker = speaker
        self._headset = headset
        self.failure: OperatorError | None = None

    def run(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            for piece in self._heard:
                deaf = self._speaker.playing and not self._headset
                self._line.append(bytes(len(piece)) if deaf else piece)
            self._line.append(bytes(2 * RATE))  # a microphone that ended in the middle of a turn
        except OperatorError as error:
            self.failure = error
        except (ConnectionClosed, ValueError, OSError):
            pass  # the conversation is over, and its pipe is closed


def _speak(line: Line, speaker: Speaker, ear: _Ear) -> None:
    item, quiet = "", 0

    def over() -> bool:
        nonlocal quiet
        quiet += 1
        return not ear.is_alive() and (ear.failure is not None or quiet >= _QUIET)

    for event in line.events(1.0, over):
        quiet = 0
        match event["type"]:
            case "response.output_audio.delta":
                item = event["item_id"]
                speaker.play(base64.b64decode(event["delta"]))
            case "input_audio_buffer.speech_started" if speaker.playing and item:
                played = speaker.played
                speaker.stop()
                line.send("conversation.item.truncate", event_id=_TRUNCATE, item_id=item, content_index=0, audio_end_ms=played)
            case "response.done" if not ear.is_alive():
                speaker.finish()
                _print(event)
                return
        _print(event)


def _print(event: dict[str, Any]) -> None:
    match event["type"]:
        case "conversation.item.input_audio_transcription.completed":
            print(f"> {printable(event['transcript'])}", flush=True)
        case "response.output_audio_transcript.delta":
            print(printable(event["delta"]), end="", flush=True)
        case "response.done":
            print(flush=True)
            details = event["response"].get("status_details") or {}
            if details.get("type") == "failed":
                raise ServerError(details["error"].get("message") or "The answer failed.", code=details["error"].get("code"))
