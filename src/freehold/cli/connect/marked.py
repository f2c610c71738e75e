"""Lines of a text file that are ours, between two marks; lines of its owner's that ours replace are kept behind a mark.

For files whose comments begin with `#`: YAML, TOML, shells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Place = Callable[[str], int]  # where in a text a block goes: the offset of a line's beginning


def begin(client: str) -> str:
    return f"# >>> freehold connect {client}"


def end(client: str) -> str:
    return f"# <<< freehold connect {client}"


def kept(client: str) -> str:
    return f"#freehold-{client}# "


def with_block(text: str, client: str, lines: Sequence[str], place: Place, indent: str = "") -> str:
    """The text with our lines between marks."""
    eol = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += eol
    at = place(text)
    block = [indent + begin(client), *lines, indent + end(client)]
    return text[:at] + "".join(line + eol for line in block) + text[at:]


def with_kept(text: str, client: str, line: re.Pattern[str], until: int) -> str:
    """The text with the lines before `until` that match behind a mark, which makes them comments."""
    return line.sub(lambda found: kept(client) + found[0], text[:until]) + text[until:]


def without_block(text: str, client: str) -> str:
    """The text without our lines, and with those that they replaced."""
    first, last = re.escape(begin(client)), re.escape(end(client))
    text = re.sub(rf"^[ \t]*{first}\r?\n(?:.*\n)*?[ \t]*{last}(?:\r?\n|\Z)", "", text, flags=re.MULTILINE)
    return re.sub(rf"^{re.escape(kept(client))}", "", text, flags=re.MULTILINE)


def at_end(text: str) -> int:
    return len(text)


def before_tables(text: str) -> int:
    """Where TOML's top-level keys end: before the first table, and before comments that stand above it."""
    found = re.search(r"^[ \t]*\[", text, re.MULTILINE)
    return found.start() if found else len(text)
