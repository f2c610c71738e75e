"""Filling in by a model that only chats: asked in words, with its answer begun for it.

The question is a code block with a mark for the gap. The answer begins with such a block and the line before the gap, so that
the model can only write on from there: what it would say before, it cannot, and the block's end is where it stops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from freehold.errors import EngineBadResponse
from freehold.protocol.fim.families import Family
from freehold.protocol.fim.fill import Fill

NAME = "chat"
CHAT = Family(NAME, "@question", "@gap", "@answer")
_MOST = 200  # characters of a line that an answer is begun with
_LONGEST_FENCE = 64  # a text with more in a row may end the answer early
_BEFORE, _BEHIND = "⁂ here stands what is before ⁂", "⁂ here stands what is behind ⁂"
_ORDER = (
    "Below is a text with a gap, marked {gap}. Write what belongs in the gap, so that the text before it goes on into the text "
    "behind it. Answer with one code block: the line that ends at the gap, and what you fill in. Do not repeat what stands "
    "behind the gap, and explain nothing."
)


@dataclass(frozen=True)
class Question:
    """`message` is what the user says, with places for the texts; `opening` begins the model's answer, `line` goes on with
    words of the user's own, and `blanks` stand between them and the gap. `stops` end the answer."""

    message: str
    opening: str
    line: str
    blanks: str
    stops: tuple[str, ...]

    def marks(self, prompt: str) -> tuple[str, str, str]:
        """The model's templated prompt in three: what stands before the first text, between both, and behind them.

        Raises EngineBadResponse when the template does not tell the model what it is asked.
        """
        before, first, rest = prompt.partition(_BEFORE)
        gap, second, behind = rest.partition(_BEHIND)
        if not first or not second or _BEFORE in rest or _BEHIND in behind:
            raise EngineBadResponse("The model's chat template does not pass on what it is given, so it cannot fill in.")
        if re.search(r"<(think|thinking)>\s*$", behind):  # its template makes it think; what is begun must not be a thought
            behind = f"{behind.rstrip()}\n\n</{behind.rstrip().rpartition('<')[2]}\n\n"
        return before, gap, f"{behind}{self.opening}"


def question(fill: Fill) -> Question:
    texts = (fill.prefix, fill.suffix, *(extra.text for extra in fill.extras))
    longest = max((len(run) for text in texts for run in re.findall("`+", text)), default=0)
    fence = "`" * min(max(3, longest + 1), _LONGEST_FENCE)
    gap = next(gap for gap in _gaps() if not any(gap in text for text in texts))
    said = fill.prefix.rstrip()
    line = said.rpartition("\n")[2][-_MOST:]
    return Question(
        message=f"{_ORDER.format(gap=gap)}\n\n{fence}\n{_BEFORE}{gap}{_BEHIND}\n{fence}",
        opening=f"{fence}\n",
        line=line,
        blanks=fill.prefix[len(said) :],
        stops=(f"\n{fence}", fence),
    )


def _gaps() -> Iterator[str]:
    yield "<GAP>"
    for number in count(2):
        yield f"<GAP {number}>"


class Begun:
    """Takes the blanks off an answer that stand before the gap already."""

    def __init__(self, blanks: str):
        self._blanks = blanks

    def feed(self, piece: str) -> str:
        same = 0
        while same < min(len(piece), len(self._blanks)) and piece[same] == self._blanks[same]:
            same += 1
        self._blanks = self._blanks[same:] if same == len(piece) else ""
        return piece[same:]
