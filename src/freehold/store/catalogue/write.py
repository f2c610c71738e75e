"""From tables to the text of a data file: a line for each fact, so that a change of one is a change of one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def dumps(entries: Iterable[Mapping[str, Any]], basis: str = "") -> str:
    """The text of a `data/*.json` with these entries (tables as `read.parse` takes them). `basis` says what their `quality`
    rests on."""
    head = f' "quality_basis": {_plain(basis)},\n' if basis else ""
    return "{\n" + head + ' "entries": [\n' + ",\n".join(_entry(entry) for entry in entries) + "\n ]\n}\n"


def _entry(entry: Mapping[str, Any]) -> str:
    lines = [f"   {json.dumps(key)}: {_plain(value)}" for key, value in entry.items() if key != "variants"]
    variants = ",\n".join(_variant(variant) for variant in entry["variants"])
    return "  {\n" + ",\n".join(lines) + ',\n   "variants": [\n' + variants + "\n   ]\n  }"


def _variant(variant: Mapping[str, Any]) -> str:
    head = "".join(f"{json.dumps(key)}: {_plain(value)}, " for key, value in variant.items() if key != "files")
    files = ",\n".join(f"     {_plain(file)}" for file in variant["files"])
    return "    {" + head + '"files": [\n' + files + "\n    ]}"


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
