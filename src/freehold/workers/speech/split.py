"""Text in pieces that are spoken one after another: sentences, and clauses of long ones. The first audio comes early."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 300  # characters of a piece
_FIRST = 120  # of the first piece, which somebody waits for

# A stop with what closes it, before a blank; a full-width stop, with or without one; or the end of a line.
_STOP = re.compile(r"[.!?…؟।॥]+[\"'”’»)\]]*(?=\s)|[。！？｡]+[”’」』）]*|\n+")
# What a full stop does not end: titles, initials, numbers of a list, and what is abbreviated in the larger languages.
_ABBREVIATED = re.compile(
    r"(?:^|[\s(\[“\"'])(?:[^\W\d_]|\d{1,3}|[Mm]rs?|[Mm]s|[Dd]r|[Pp]rof|[Ss]r|[Jj]r|[Ss]t|[Nn]r|[Nn]o|[Vv]ol|[Ff]ig|vs|etc|ca|approx"
    r"|bzw|usw|evtl|ggf|inkl|[Hh]r|[Ff]r|[Ss]ra?|[Mm]me|[Mm]lle|art|cap|pág|[^\W\d_](?:\.\s?[^\W\d_])+)\.$"
)
_CLAUSE = re.compile(r"[,;:—–،；：，、]+[\"'”’»)\]」』）]*\s*|\s[-–—]\s")
_BLANK = re.compile(r"\s+")


def pieces(text: str) -> Iterator[str]:
    """All of the text, in order: joined, the pieces are the text again. None is longer than LONGEST, or empty."""
    limit, start = _FIRST, 0
    while start < len(text):
        end = _end(text, start, limit)
        yield text[start:end]
        limit, start = LONGEST, end


def _end(text: str, start: int, limit: int) -> int:
    """Where the piece that begins at `start` ends: a sentence's end, else a clause's, else a blank, else the limit."""
    reach = min(len(text), start + LONGEST)
    sentence = _sentence_end(text, start, reach)
    if sentence <= start + limit:
        return sentence
    for mark in (_CLAUSE, _BLANK):
        ends = [match.end() for match in mark.finditer(text, start + 1, min(sentence, start + limit))]
        if ends:
            return ends[-1]
    if sentence < reach or reach == len(text):
        return sentence if limit < LONGEST else min(sentence, start + limit)
    return start + limit


def _sentence_end(text: str, start: int, reach: int) -> int:
    """The end of the first sentence, with the blanks behind it; `reach` when it is further."""
    for match in _STOP.finditer(text, start, reach):
        if not text[start : match.end()].strip():
            continue  # blank lines before the first word
        if match[0].startswith(".") and _ABBREVIATED.search(text, start, match.end()):
            continue
        blank = _BLANK.match(text, match.end(), reach)
        return blank.end() if blank else match.end()
    return reach
