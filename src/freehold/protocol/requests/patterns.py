"""Regular expressions in a strict schema: those that the engine's grammars hold a model to."""

from __future__ import annotations

import re

# What the engine's regular expressions are: literals, classes that list their characters, groups, alternatives, repetition.
# Wildcards and negated classes would let a quote through and so break the JSON.
_TOKEN = re.compile(
    r"""(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<or>\|)
    |(?: [A-Za-z0-9 _\-!#%&',/:;<=>@`~] | \\[\^$.\[\]()|{}*+?] | \[(?:[A-Za-z0-9 _\-!#%&',/:;<=>@`~.$()|{}*+?]|\\\])+\] )""",
    re.VERBOSE,
)
_REPEAT = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}")


def enforceable(pattern: str) -> bool:
    """Whether the engine's grammar of this pattern lets through what it matches, and nothing else."""
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return False
    at, end, depth = 1, len(pattern) - 1, 0
    while at < end:
        token = _TOKEN.match(pattern, at, end)
        if token is None or (token["or"] and not depth) or (token["close"] and not depth):
            return False
        depth += bool(token["open"]) - bool(token["close"])
        at = token.end()
        if not (token["open"] or token["or"]) and (repeat := _REPEAT.match(pattern, at, end)):
            at = repeat.end()
    return depth == 0 and _is_expression(pattern)


def _is_expression(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True
