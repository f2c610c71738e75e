"""Which words of something that is still being said are sure: those that two hypotheses in a row agree on.

Source of the idea: LocalAgreement-2 of Liu, Spanakis and Niehues, "Low-Latency Sequence-to-Sequence Speech Recognition and
Translation by Partial Hypothesis Selection", Interspeech 2020.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

# A word ends before the marks behind it, which are the first to change; each letter of a script without spaces is one.
_LETTER = r"[\u2e80-\u312f\u31a0-\u9fff\uff00-\uffef]"
_WORD = re.compile(rf"{_LETTER}|(?:(?!{_LETTER})\S)+")
_MARKS = re.compile(r"[\W_]+$")
_SILENT = re.compile(r"[\W_]+")
_NEAR = 200  # words: the end of what was told is looked for by so many, near the end of the text; a turn may have thousands


class _Word(NamedTuple):
    """What two hypotheses are compared by, and where in the text the word ends."""

    key: str
    end: int


class Agreement:
    """What was told of a text that grows, and what may be told next. What was told is never taken back."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._text = ""
        self._before: list[str] = []

    def hear(self, hypothesis: str) -> str:
        """What is new and sure after this hypothesis, with the space before it."""
        words = _words(hypothesis)
        keys = [word.key for word in words]
        agreed = 0
        for now, before in zip(keys, self._before, strict=False):
            if now != before:
                break
            agreed += 1
        self._before = keys
        known = self._place(keys)
        if agreed <= known:
            return ""
        self._told += keys[known:agreed]
        new = hypothesis[words[known - 1].end if known else 0 : words[agreed - 1].end]
        self._text += new
        return new

    def follow(self, text: str) -> str:
        """What is new in a text that only grows, and is sure as it is."""
        new = self.rest(text)
        self._text += new
        self._told = [word.key for word in _words(self._text)]
        return new

    def rest(self, text: str) -> str:
        """What of the final text has not been told. With what was told it makes the text, where no word has changed since."""
        if text.startswith(self._text):
            return text[len(self._text) :]
        words = _words(text)
        known = self._place([word.key for word in words])
        return text[words[known - 1].end if known else 0 :]

    def _place(self, keys: Sequence[str]) -> int:
        """How many of these words have been told, in these words or in others."""
        told = len(self._told)
        if keys[:told] == self._told:
            return told
        first, begin = max(0, told - _NEAR), max(0, len(keys) - 2 * _NEAR)
        blocks = SequenceMatcher(None, self._told[first:], keys[begin:], autojunk=False).get_matching_blocks()
        found = [block for block in blocks if block.size]
        place = begin + found[-1].b + told - first - found[-1].a if found else told
        return min(place, len(keys))


def _words(text: str) -> list[_Word]:
    """Marks that stand alone belong to the word before them."""
    found = []
    for match in _WORD.finditer(text):
        marks = _MARKS.search(match.group())
        end = match.end() - (len(marks.group()) if marks else 0)
        if key := _SILENT.sub("", match.group()).casefold():
            found.append(_Word(key, end))
    return found
