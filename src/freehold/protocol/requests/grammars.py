"""How ambiguous a GBNF grammar is. llama.cpp follows every way a text may go on; some dozen lines can make billions of them,
and an engine that counts to a billion answers nobody else.

Only this is looked at here: whether a grammar is one at all, the engine says.
"""

from __future__ import annotations

import re
from itertools import count
from typing import NamedTuple

_MOST_WAYS = 5000  # to go on from one place; a list of that many words is served within some seconds
_MOST_SKIPS = 16  # ways to match nothing at one place; these multiply with what follows
_DEEPEST = 100

_TOKEN = re.compile(
    r"""(?P<define>[A-Za-z0-9_-]+)\s*::=
    |(?P<name>[A-Za-z0-9_-]+)
    |(?P<nothing>"")
    |(?P<terminal>"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\.|!?<[^>]*>)
    |(?P<open>\()|(?P<close>\))|(?P<or>\|)
    |(?P<repeat>[*+?]|\{(?P<low>[0-9]*)(?P<comma>,)?(?P<high>[0-9]*)\})
    |\#[^\n]*|.""",
    re.VERBOSE | re.DOTALL,
)


class _Element(NamedTuple):
    """`rule` is the name of one, None for a terminal, "" for nothing; it stands there `low` to `high` times (None: any)."""

    rule: str | None
    low: int = 1
    high: int | None = 1


class _Count(NamedTuple):
    """Ways to reach a first terminal, and ways to match nothing."""

    ways: int
    skips: int


_Alternatives = list[list[_Element]]
_TOO_MANY = _Count(_MOST_WAYS + 1, _MOST_SKIPS + 1)


def too_ambiguous(grammar: str) -> bool:
    """Whether there are too many ways to go on from some place of this grammar."""
    counter = _Counter(_parsed(grammar))
    return any(counter.exceeds(alternatives) for alternatives in counter.rules.values())


def _parsed(grammar: str) -> dict[str, _Alternatives]:
    """Rules by name. A group becomes a rule of its own; what is no grammar becomes anything."""
    rules: dict[str, _Alternatives] = {}
    fresh = (f"({number}" for number in count())
    current: _Alternatives = [[]]
    enclosing: list[_Alternatives] = []
    for token in _TOKEN.finditer(grammar):
        match token.lastgroup:
            case "define":
                current, enclosing = rules.setdefault(token["define"], []), []
                current.append([])
            case "name":
                current[-1].append(_Element(token["name"]))
            case "nothing":
                current[-1].append(_Element(""))
            case "terminal":
                current[-1].append(_Element(None))
            case "open":
                name = next(fresh)
                current[-1].append(_Element(name))
                enclosing.append(current)
                current = rules[name] = [[]]
            case "close" if enclosing:
                current = enclosing.pop()
            case "or":
                current.append([])
            case _ if token["repeat"] and current[-1]:
                current[-1][-1] = _Element(current[-1][-1].rule, *_bounds(token))
    return rules


def _bounds(token: re.Match[str]) -> tuple[int, int | None]:
    match token["repeat"]:
        case "*":
            return 0, None
        case "+":
            return 1, None
        case "?":
            return 0, 1
    low = int(token["low"][:9] or 0)
    return low, int(token["high"][:9]) if token["high"] else (None if token["comma"] else low)


class _Counter:
    def __init__(self, rules: dict[str, _Alternatives]):
        self.rules = rules
        self._known: dict[str, _Count] = {}

    def exceeds(self, alternatives: _Alternatives) -> bool:
        """Whether there are too many ways to go on, from the beginning of these alternatives or from within one of them."""
        total = self._either(alternatives, 0)
        if total.ways > _MOST_WAYS or total.skips > _MOST_SKIPS:
            return True
        for elements in alternatives:
            ways, skips = 0, 1
            for element in reversed(elements):  # from each place to the end, at the price of one pass
                one = self._element(element, 0)
                ways, skips = one.ways + one.skips * ways, one.skips * skips
                if ways > _MOST_WAYS or skips > _MOST_SKIPS:
                    return True
        return False

    def _rule(self, name: str, depth: int) -> _Count:
        if depth > _DEEPEST:
            return _TOO_MANY
        if name not in self._known:
            self._known[name] = _Count(1, 0)  # where it comes back to itself
            self._known[name] = self._either(self.rules.get(name, [[_Element(None)]]), depth + 1)
        return self._known[name]

    def _either(self, alternatives: _Alternatives, depth: int) -> _Count:
        counts = [self._sequence(elements, depth) for elements in alternatives]
        return _capped(sum(one.ways for one in counts), sum(one.skips for one in counts))

    def _sequence(self, elements: list[_Element], depth: int) -> _Count:
        ways, skips = 0, 1
        for element in elements:
            one = self._element(element, depth)
            ways, skips = ways + skips * one.ways, skips * one.skips
            if not skips or ways > _MOST_WAYS:
                break
        return _capped(ways, skips)

    def _element(self, element: _Element, depth: int) -> _Count:
        if element.rule is None:
            one = _Count(1, 0)
        elif element.rule:
            one = self._rule(element.rule, depth)
        else:
            one = _Count(0, 1)
        if one.skips and (element.high is None or element.high > 1):
            times = element.high or _MOST_SKIPS + 1  # each time may match nothing, or something
            return _capped(one.ways * times, one.skips * times)
        return _capped(one.ways, one.skips + (element.low == 0))


def _capped(ways: int, skips: int) -> _Count:
    return _Count(min(ways, _MOST_WAYS + 1), min(skips, _MOST_SKIPS + 1))
