"""`freehold chat`: a conversation in the terminal, or one answer for a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from freehold.cli.client import Client, ServerError
from freehold.cli.output import printable
from freehold.cli.session import Session, with_session

_FENCE = '"""'
_HELP = f"""/clear   forget the conversation so far
/system  set what the model is told first, as in: /system Answer in French.
/exit    leave (or Ctrl-D)
Ctrl-C stops an answer. {_FENCE} begins and ends a text of several lines."""
_REMEMBERED = 1000  # lines typed, for the arrow keys


@click.command(
    epilog="""\b
Examples:
  freehold chat
  freehold chat "Say hello."
  cat notes.txt | freehold chat "Summarise this." --system "Answer in one sentence."
"""
)
@click.argument("prompt", required=False)
@click.option("--model", help="Model to talk to.  [default: the server's default chat model]")
@click.option("--system", help="What the model is told before all else.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 gives the likeliest answer; higher ones vary more.")
@click.option("--max-tokens", type=click.IntRange(1), help="The most tokens of an answer.")
@with_session("used")
def chat(
    session: Session,
    prompt: str | None,
    model: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
) -> None:
    """Talk to a model of the running server."""
    piped = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    if prompt is not None and not prompt.strip():
        raise click.UsageError("The prompt is empty.")
    if prompt is None and not piped and not sys.stdin.isatty():
        raise click.UsageError("There is nothing to say: give a prompt, or pipe one in.")
    version = session.client.version()
    options = {"model": model or version.get("default_chat") or "gpt-4o", "temperature": temperature, "max_tokens": max_tokens}
    talk = Conversation(session.client, {name: value for name, value in options.items() if value is not None}, system)
    if prompt is None and not piped:
        _interactive(talk, session.settings.data_dir / "chat_history")
        return
    for piece in talk.ask("\n\n".join(part for part in (piped, prompt) if part)):
        print(printable(piece), end="", flush=True)
    print()


class Conversation:
    """Messages so far. A question that gets no answer is not kept. `options` are a request's other fields, the model's name
    among them."""

    def __init__(self, client: Client, options: dict[str, Any], system: str | None):
        self._client = client
        self.options = options
        self.messages: list[dict[str, str]] = []
        self.system = system

    def ask(self, text: str) -> Iterator[str]:
        """The answer as it comes. What has come is kept, also when the iterator is closed early."""
        messages = [*([{"role": "system", "content": self.system}] if self.system else []), *self.messages]
        question = {"role": "user", "content": text}
        answer: list[str] = []
        stream = self._client.stream("/v1/chat/completions", {**self.options, "messages": [*messages, question]})
        try:
            for chunk in stream:
                if piece := _words(chunk):
                    answer.append(piece)
                    yield piece
        finally:
            stream.close()  # type: ignore[attr-defined]
            if answer:
                self.messages += [question, {"role": "assistant", "content": "".join(answer)}]


def _words(chunk: Any) -> str:
    for choice in chunk.get("choices") or ():
        return (choice.get("delta") or {}).get("content") or ""
    return ""


def _interactive(talk: Conversation, history: Path) -> None:
    print(f"Talking to {talk.options['model']}. /help shows what else there is; Ctrl-D leaves.")
    with _line_editing(history):
        while (text := _typed()) is not None:
            if not text.strip():
                continue
            if text.startswith("/"):
                if not _command(talk, text):
                    return
                continue
            _answer(talk, text)


def _typed() -> str | None:
    """What the person types next; None at the end."""
    try:
        text = input(">>> ")
        if not text.startswith(_FENCE):
            return text
        text = text.removeprefix(_FENCE)
        while not text.endswith(_FENCE):
            text += "\n" + input("... ")
        return text.removesuffix(_FENCE)
    except KeyboardInterrupt:
        print("\n(Ctrl-D leaves)")
        return ""
    except EOFError:
        print()
        return None


def _command(talk: Conversation, text: str) -> bool:
    """Whether the conversation goes on after a command."""
    word, _, rest = text.partition(" ")
    match word:
        case "/exit" | "/quit" | "/bye":
            return False
        case "/clear":
            talk.messages.clear()
            print("Forgotten.")
        case "/system":
            talk.system = rest.strip() or None
            print("Set." if talk.system else "Unset.")
        case _:
            print(_HELP)
    return True


def _answer(talk: Conversation, text: str) -> None:
    """Prints an answer as it comes. An error ends the answer, not the conversation."""
    answer = talk.ask(text)
    try:
        for piece in answer:
            print(printable(piece), end="", flush=True)
    except KeyboardInterrupt:
        answer.close()  # type: ignore[attr-defined]
    except ServerError as error:
        hint = " /clear makes room." if error.code == "context_length_exceeded" else ""
        print(f"\nerror: {printable(str(error))}{hint}", file=sys.stderr, end="")
    print()


@contextlib.contextmanager
def _line_editing(history: Path) -> Iterator[None]:
    """Arrow keys, and what was typed before, kept for its owner alone."""
    try:
        import readline
    except ImportError:  # a Python without it: plain lines
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(_REMEMBERED)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            history.touch(mode=0o600)
            readline.write_history_file(history)
