"""Text in pieces that are spoken one after another: sentences, and clauses of long ones. The first audio comes early."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from freehold.protocol.sentences import ABBREVIATED

LONGEST = 300  # characters of a piece
_FIRST = 100  # of the first piece, which somebody waits for, where it has a clause to end at
_CLOSERS = "[\"'”’»)\\]」』）]*"

# A stop with what closes it, before a blank or the end; a full-width stop, whatever follows; or the end of a line.
_STOP = re.compile(rf"(?:[.!?…؟۔।॥։]+{_CLOSERS})(?=\s|$)|[。！？｡]+{_CLOSERS}|\n+")
_LONGEST_ABBREVIATION = 24  # characters
_CLAUSE = re.compile(rf"[,;:—–،؛]+{_CLOSERS}\s+|[，、；：]+{_CLOSERS}\s*|\s[-–—]\s+")
_BLANK = re.compile(r"\s+")


def pieces(text: str, longest: int = LONGEST) -> Iterator[str]:
    """All of the text, in order: joined, the pieces are the text again. None is longer than `longest`, or empty."""
    start = 0
    while start < len(text):
        end = _end(text, start, longest, first=start == 0)
        yield text[start:end]
        start = end


def _end(text: str, start: int, longest: int, *, first: bool) -> int:
    """Where the piece that begins at `start` ends: a sentence's end; of a long one a clause's, else a blank, else anywhere."""
    reach = min(len(text), start + longest)
    sentence = _sentence_end(text, start, reach)
    if sentence is not None and (not first or sentence - start <= _FIRST):
        return sentence
    most = min(sentence or reach, start + _FIRST) if first else reach
    clause = _last(_CLAUSE, text, start, most)
    if clause is None and first and sentence is None:
        clause = _last(_CLAUSE, text, start, reach)
    return clause or sentence or _last(_BLANK, text, start, reach) or _between_letters(text, start, reach)


def _sentence_end(text: str, start: int, reach: int) -> int | None:
    """The end of the first sentence, with the blanks behind it; None when it is beyond `reach`."""
    for match in _STOP.finditer(text, start, min(len(text), reach + 1)):  # one more, to see what follows
        if match.end() > reach:
            break
        if not text[start : match.end()].strip():
            continue  # blank lines before the first word
        before = max(start, match.end() - _LONGEST_ABBREVIATION)
        if match[0].startswith(".") and ABBREVIATED.search(text[before : match.start() + 1]):
            continue
        blank = _BLANK.match(text, match.end(), reach)
        return blank.end() if blank else match.end()
    return reach if reach == len(text) else None


def _last(pattern: re.Pattern[str], text: str, start: int, end: int) -> int | None:
    """Where the pattern's last match between two places ends."""
    ends = [match.end() for match in pattern.finditer(text, start + 1, end)]
    return ends[-1] if ends else None


def _between_letters(text: str, start: int, end: int) -> int:
    """The last place before `end` where no letter is torn from its accents."""
    place = end
    while place > start + 1 and place < len(text) and (unicodedata.combining(text[place]) or text[place] in "\u200d\ufe0f"):
        place -= 1
    return place if place > start + 1 else end
