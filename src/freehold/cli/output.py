"""What commands print: tables, JSON, sizes. Aligned columns without colour where standard output is no terminal."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

GIB = 2**30


def printable(text: str) -> str:
    """Text without control characters but for line ends and tabs: a model's words must not steer the terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under headers; cells are one line each."""
    cells = [[printable(" ".join(cell.split())) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(headers, cells)
        return
    lines = [list(headers), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_pairs(pairs: Mapping[str, str]) -> None:
    """A name and its value on each line, without the values that are empty."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        if value:
            print(f"{name.ljust(width)}  {printable(' '.join(value.split()))}")


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: nothing in a cell is read as markup
    Console().print(table)


def gibibytes(count: int) -> str:
    """Bytes of memory for people: "15.5 GiB"."""
    return f"{count / GIB:.1f} GiB"


def count_of(number: int) -> str:
    """Parameters for people: "135M", "7.6B"."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 10 else f"{scaled:.0f}{unit}"
    return str(number)


def duration(seconds: float) -> str:
    """ "4 s", "12 min", "3 h", "2 d"."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
