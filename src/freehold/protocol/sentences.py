"""Sentences of a text that is still being written, so that the first can be spoken before the last is known."""

from __future__ import annotations

import re

# An end: a stop with what closes it, then a blank; or a full-width stop, or a line's end, which need none.
_END = re.compile(r"[.!?…؟۔।॥։]+[\"'”’»)\]]*(?=\s)|[。！？｡]+[”’」』）]*|\n+")
# What a full stop does not end: initials, numbers, titles, and what is abbreviated in the larger languages.
ABBREVIATED = re.compile(
    r"(?:^|[\s(\[“\"'])(?:[^\W\d_]|\d{1,3}|[Mm]rs?|[Mm]s|[Dd]r|[Pp]rof|[Ss]r|[Jj]r|[Ss]t|[Nn]r|[Nn]o|[Vv]ol|[Ff]ig|vs|ca|approx"
    r"|bzw|evtl|ggf|inkl|[Hh]r|[Ff]r|[Ss]ra|[Mm]me|[Mm]lle|pág|[^\W\d_](?:\.\s?[^\W\d_])+)\.$"
)
_SHORT = 12  # characters: what is shorter is spoken with what follows
_LONG = 400  # characters after which a sentence is cut at a blank


class Sentences:
    """Takes text in pieces of any size and gives it back in sentences; nothing is lost, nothing is added."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, piece: str) -> list[str]:
        """The sentences that are now complete."""
        self._text += piece
        found = []
        while (end := self._end()) is not None:
            found.append(self._text[:end])
            self._text = self._text[end:]
        return found

    def rest(self) -> str:
        """What is left when the text has ended."""
        text, self._text = self._text, ""
        return text

    def _end(self) -> int | None:
        for match in _END.finditer(self._text):
            end = match.end()
            if end >= _SHORT and not ABBREVIATED.search(self._text[:end]):
                return end
            if end > _LONG:
                break
        if len(self._text) <= _LONG:
            return None
        blank = self._text.rfind(" ", _SHORT, _LONG)
        return blank + 1 if blank > 0 else _LONG
