"""How far something is: bars in a terminal, a line now and then elsewhere. On standard error, so that results stay clean."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from freehold.cli.output import printable

_SECONDS_BETWEEN_LINES = 5.0


class Measured(Protocol):
    """How far one stage of something is: a pull's Progress, a build's Step."""

    @property
    def stage(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int | None: ...
    def describe(self) -> str: ...


class Board(Protocol):
    """Any number of named things, each with its own progress."""

    def show(self, name: str, progress: Measured) -> None:
        """How far a pull or a compilation is."""

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


class _Lines:
    """A line for each change of stage, and every few seconds between."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float]] = {}

    def show(self, name: str, progress: Measured) -> None:
        stage, when = self._last.get(name, ("", 0.0))
        if stage == progress.stage and time.monotonic() - when < _SECONDS_BETWEEN_LINES:
            return
        self._last[name] = (progress.stage, time.monotonic())
        self._print(f"{name}: {progress.describe()}")

    def note(self, name: str, text: str) -> None:
        self._last.pop(name, None)
        self._print(f"{name}: {text}")

    @staticmethod
    def _print(line: str) -> None:
        print(printable(line), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bars() -> Iterator[Board]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn
    from rich.progress import Progress as RichBars

    columns = (
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.description}", markup=False),
    )

    class Bars:
        def __init__(self, bars: RichBars) -> None:
            self._bars = bars
            self._tasks: dict[str, TaskID] = {}

        def show(self, name: str, progress: Measured) -> None:
            self._bars.update(self._task(name), completed=progress.done, total=progress.total, description=progress.describe())

        def note(self, name: str, text: str) -> None:
            self._bars.update(self._task(name), completed=1, total=1, description=text)

        def _task(self, name: str) -> TaskID:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task("", total=None, name=printable(name))
            return self._tasks[name]

    with RichBars(*columns, console=Console(stderr=True), transient=False) as bars:
        yield Bars(bars)
