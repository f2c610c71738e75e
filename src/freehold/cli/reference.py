"""The page docs/cli.md, made from the commands' own help."""

from __future__ import annotations

import click

from freehold.cli.main import COMMANDS, cli

_INTRODUCTION = """# Command line

In a checkout the command is `.venv/bin/freehold`; after `pip install .` it is `freehold`. Errors are one line on standard
error and an exit code: 1 for an error, 2 for a mistake in the command or the settings, 130 after Ctrl-C. `FREEHOLD_DEBUG=1`
adds the traceback. Results go to standard output, progress and warnings to standard error, so both can be piped apart.

`list`, `show`, `models`, `recommend`, `pull`, `rm`, `ps`, `doctor` and `version` print JSON with `--json`. Commands talk to
the running server where one runs, and work on the data folder where none does."""

_WIDTH = 100


def markdown() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    with click.Context(cli, info_name="freehold", terminal_width=_WIDTH, help_option_names=["-h", "--help"]) as context:
        parts.append(_section("freehold", cli, context))
        for name in COMMANDS:
            command = cli.get_command(context, name)
            assert command is not None  # noqa: S101 - it is in the table
            parts += _sections(f"freehold {name}", command, context)
    return "\n\n".join(parts)


def _sections(title: str, command: click.Command, parent: click.Context) -> list[str]:
    """A command's section, and those of the commands below it."""
    with click.Context(command, info_name=title.rpartition(" ")[2], parent=parent, terminal_width=_WIDTH) as context:
        found = [_section(title, command, context)]
        for name, inner in sorted(command.commands.items()) if isinstance(command, click.Group) else ():
            found += _sections(f"{title} {name}", inner, context)
    return found


def _section(title: str, command: click.Command, context: click.Context) -> str:
    return f"## {title}\n\n```\n{command.get_help(context)}\n```"
