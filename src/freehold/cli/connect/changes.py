"""What is done to a file, as values: each change gives the new text, and a memo by which it is taken out again later."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from freehold.cli.connect import jsonc, marked

Memo = Mapping[str, Any]


class Unreadable(ValueError):
    """The file is not what the change can be made in; the message says why."""


class Change(Protocol):
    """`shown` is what a person would write by hand, for --print."""

    @property
    def path(self) -> Path: ...

    @property
    def shown(self) -> str: ...

    def apply(self, text: str | None) -> tuple[str, Memo]:
        """The new text for the file's, None where there is no file. Raises Unreadable."""


@dataclass(frozen=True)
class Own:
    """A file that is ours alone."""

    path: Path
    shown: str

    def apply(self, text: str | None) -> tuple[str, Memo]:
        return self.shown, {"kind": "own"}


@dataclass(frozen=True)
class Members:
    """Values at paths of a file of JSON with comments."""

    path: Path
    values: Sequence[tuple[jsonc.Path, Any]]

    @property
    def shown(self) -> str:
        text = ""
        for path, value in self.values:
            text = jsonc.with_value(text, path, value)
        return text

    def apply(self, text: str | None) -> tuple[str, Memo]:
        new, before, made = text or "", [], []
        try:
            for path, value in self.values:
                before.append([list(path), jsonc.raw_at(new, path) if new.strip() else None])
                made += [list(path[:n]) for n in range(1, len(path)) if not new.strip() or jsonc.raw_at(new, path[:n]) is None]
                new = jsonc.with_value(new, path, value)
        except jsonc.NotJson as error:
            raise Unreadable(str(error)) from None
        return new, {"kind": "members", "before": before, "made": made}


@dataclass(frozen=True)
class Lines:
    """Lines between marks in a file whose comments begin with `#`. `replaced` finds lines of the owner's that say the same,
    before the place where ours go."""

    path: Path
    client: str
    lines: tuple[str, ...]
    place: marked.Place = marked.at_end
    indent: str = ""
    replaced: re.Pattern[str] | None = None
    check: Any = None  # of the new text; raises Unreadable

    @property
    def shown(self) -> str:
        return "\n".join(self.lines) + "\n"

    def apply(self, text: str | None) -> tuple[str, Memo]:
        new = text or ""
        if self.replaced:
            new = marked.with_kept(new, self.client, self.replaced, self.place(new))
        new = marked.with_block(new, self.client, self.lines, self.place, self.indent)
        if self.check:
            self.check(new)
        return new, {"kind": "lines", "client": self.client}


@dataclass(frozen=True)
class Several:
    """Changes of one file, in their order."""

    path: Path
    changes: Sequence[Change]

    @property
    def shown(self) -> str:
        return "\n".join(change.shown for change in self.changes)

    def apply(self, text: str | None) -> tuple[str, Memo]:
        memos = []
        for change in self.changes:
            text, memo = change.apply(text)
            memos.append(memo)
        return text or "", {"kind": "several", "memos": memos}


def taken_out(text: str, memo: Memo) -> str | None:
    """The text without what the memo tells of, None where the file was ours. Raises Unreadable."""
    if memo["kind"] == "own":
        return None
    if memo["kind"] == "several":
        for part in reversed(memo["memos"]):
            text = taken_out(text, part) or ""
        return text
    if memo["kind"] == "lines":
        return marked.without_block(text, memo["client"])
    try:
        for path, raw in reversed(memo["before"]):
            steps = _steps(path)
            text = jsonc.without(text, steps) if raw is None else jsonc.with_raw(text, steps, raw)
        for path in sorted(memo["made"], key=len, reverse=True):
            if jsonc.is_empty(text, _steps(path)):
                text = jsonc.without(text, _steps(path))
    except jsonc.NotJson as error:
        raise Unreadable(str(error)) from None
    return text


def _steps(path: Sequence[Any]) -> list[jsonc.Step]:
    """A path that has been through JSON."""
    return [step if isinstance(step, str) else (step[0], step[1]) for step in path]
