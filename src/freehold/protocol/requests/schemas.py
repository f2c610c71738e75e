"""How large a JSON schema may be, and how many ways it may leave open: the engine makes a grammar of it while others wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from freehold.protocol.requests.grammars import too_ambiguous

# Grammars grow with the square of these: beyond them, making one would keep the engine from everybody's answers for seconds.
_MOST_PROPERTIES = 500
_MOST_VALUES = 1000
_MOST_TEXT = 120_000
_MOST_PATTERN = 4096
_MOST_NESTED = 100
_MOST_WAYS = 1000

# A regular expression is a grammar when all that stands for a letter is one sign.
_SIGNS = re.compile(r"(?P<same>\((?!\?:)|[|)*+?]|\{[0-9]*,?[0-9]*\})|\(\?:|\\.|\[(?:[^\]\\]|\\.)*\]|[^.]", re.DOTALL)


def too_large(schema: Mapping[str, Any]) -> str | None:
    """What there is too much of in this schema, as a sentence; None when it is of a size that can be served."""
    properties = values = text = 0
    left: list[tuple[object, int]] = [(schema, 0)]
    while left:
        node, depth = left.pop()
        if depth > _MOST_NESTED:
            return f"it is nested deeper than {_MOST_NESTED} levels."
        if isinstance(node, str):
            text += len(node)
        elif isinstance(node, list):
            left += [(child, depth + 1) for child in node]
        elif isinstance(node, Mapping):
            properties += len(named) if isinstance(named := node.get("properties"), Mapping) else 0
            values += len(listed) if isinstance(listed := node.get("enum"), list) else 0
            text += sum(map(len, node))
            if why := _pattern_problem(node.get("pattern")):
                return why
            left += [(child, depth + 1) for child in node.values()]
    for count, most, what in (
        (properties, _MOST_PROPERTIES, "properties"),
        (values, _MOST_VALUES, "values in its enums"),
        (text, _MOST_TEXT, "characters of names and texts"),
    ):
        if count > most:
            return f"it has {count:,} {what}; {most:,} are served."
    if _Ways(schema).most() > _MOST_WAYS:
        return f"its choices and references multiply to more than {_MOST_WAYS:,} at one place."
    return None


def _pattern_problem(pattern: object) -> str | None:
    if not isinstance(pattern, str):
        return None
    if len(pattern) > _MOST_PATTERN:
        return f"it has a 'pattern' of {len(pattern):,} characters; {_MOST_PATTERN:,} are served."
    if too_ambiguous("root ::= " + _SIGNS.sub(lambda sign: sign["same"] or ("(" if sign[0] == "(?:" else "."), pattern)):
        return "it has a 'pattern' that leaves open too many ways to go on from one place."
    return None


class _Ways:
    """In how many ways a value may begin, counting each path through anyOf, oneOf and $ref: the engine follows every one of
    them, and a few definitions that name each other twice make billions."""

    def __init__(self, root: Mapping[str, Any]):
        self._root = root
        self._known: dict[int, tuple[int, int]] = {}

    def most(self) -> int:
        """The greatest number at any place of the schema."""
        most, left = 0, [self._root]
        while left and most <= _MOST_WAYS:
            node = left.pop()
            if isinstance(node, Mapping):
                most = max(most, self._of(node, 0)[0])
                left += node.values()
            elif isinstance(node, list):
                left += node
        return most

    def _of(self, node: object, depth: int) -> tuple[int, int]:
        """The number, and how many schemas are followed for it, one from the other: too many of those are too many ways."""
        if not isinstance(node, Mapping):
            return 1, 0
        if depth > _MOST_NESTED:
            return _MOST_WAYS + 1, depth
        known = self._known.get(id(node))
        if known is None:
            self._known[id(node)] = 1, 0  # where it comes back to itself
            branches = [branch for key in ("anyOf", "oneOf") if isinstance(found := node.get(key), list) for branch in found]
            counts = [self._of(branch, depth + 1) for branch in branches]
            ways, height = sum(count for count, _ in counts) if counts else 1, max((height for _, height in counts), default=0)
            if isinstance(node.get("$ref"), str):
                more, deeper = self._of(self._target(node["$ref"]), depth + 1)
                ways, height = ways * more, max(height, deeper)
            ways = _MOST_WAYS + 1 if height >= _MOST_NESTED else min(ways, _MOST_WAYS + 1)
            known = self._known[id(node)] = ways, height + 1
        return known

    def _target(self, reference: str) -> object:
        node: object = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            node = node.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
        return node
