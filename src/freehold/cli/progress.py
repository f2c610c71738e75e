"""How far something is: bars in a terminal, a line now and then elsewhere. On standard error, so that results stay clean."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from freehold.cli.output import megabytes, printable

_SECONDS_BETWEEN_LINES = 5.0
_WORDS = {"download": "downloading", "verify": "checking", "convert": "converting", "install": "installing"}


class Board(Protocol):
    """Any number of named things, each with its own progress."""

    def show(self, name: str, stage: str, done: int, total: int | None) -> None:
        """Bytes done, of a total where that is known, in a stage ("download", "verify", "convert", "install")."""

    def note(self, name: str, text: str) -> None:
        """A state without a measure, as "loading" and "ready"."""


@contextlib.contextmanager
def board() -> Iterator[Board]:
    """A board for as long as the block runs."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with _bars() as bars:
        yield bars


def measure(done: int, total: int | None) -> str:
    """ "43 of 93 MB (46 %)", or what is done when the total is not known."""
    if not total:
        return megabytes(done) if done else ""
    return f"{megabytes(min(done, total))} of {megabytes(total)} ({min(100, 100 * done // total)} %)"


class _Lines:
    """A line for each change of stage, and every few seconds between."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float]] = {}

    def show(self, name: str, stage: str, done: int, total: int | None) -> None:
        word = _WORDS.get(stage, stage)
        stage_before, when = self._last.get(name, ("", 0.0))
        if stage_before == stage and time.monotonic() - when < _SECONDS_BETWEEN_LINES:
            return
        self._last[name] = (stage, time.monotonic())
        self._print(f"{name}: {word} {measure(done, total)}".rstrip())

    def note(self, name: str, text: str) -> None:
        self._last.pop(name, None)
        self._print(f"{name}: {text}")

    @staticmethod
    def _print(line: str) -> None:
        print(printable(line), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bars() -> Iterator[Board]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    columns = (
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.description}", markup=False),
    )

    class Bars:
        def __init__(self, progress: Progress) -> None:
            self._progress = progress
            self._tasks: dict[str, TaskID] = {}

        def show(self, name: str, stage: str, done: int, total: int | None) -> None:
            text = f"{_WORDS.get(stage, stage)} {measure(done, total)}".rstrip()
            self._progress.update(self._task(name), completed=min(done, total or done), total=total, description=text)

        def note(self, name: str, text: str) -> None:
            self._progress.update(self._task(name), completed=1, total=1, description=text)

        def _task(self, name: str) -> TaskID:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task("", total=None, name=printable(name))
            return self._tasks[name]

    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        yield Bars(progress)
