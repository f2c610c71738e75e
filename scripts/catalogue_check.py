"""Compares the catalogue with its hubs and prints what differs; with --write, fills in what was lacking in the data files.

Ends with 0 when nothing differs, 1 when something does that a person must look at, 2 when no hub can be reached.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from freehold.cli.output import print_table
from freehold.errors import SourceUnreachable
from freehold.store.catalogue import check, read, write

DATA = Path(__file__).parent.parent / "src" / "freehold" / "store" / "catalogue" / "data"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only these entries")
    parser.add_argument("--write", action="store_true", help="write sizes, digests and what is verified into the data files")
    parser.add_argument("--data", type=Path, default=DATA, help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = {path: json.loads(path.read_text("utf-8")) for path in sorted(options.data.glob("*.json"))}
    entries = [read.parse(table, "built-in") for part in parts.values() for table in part["entries"]]
    if unknown := set(options.names) - {entry.name for entry in entries}:
        parser.error(f"there is no entry {', '.join(sorted(unknown))}")
    wanted = [entry for entry in entries if not options.names or entry.name in options.names]
    try:
        report = check.check(wanted, check.hugging_face())
    except SourceUnreachable as error:
        print(error, file=sys.stderr)
        return 2
    rows = [(item.entry, item.variant, item.file, item.kind, item.known, item.found) for item in report.differences]
    if rows:
        print_table(("ENTRY", "FORMAT", "FILE", "WHAT", "HERE", "THERE"), rows)
    grave = sum(not item.mendable and item.kind != "unchecked" for item in report.differences)
    print(
        f"{report.asked} repositories looked up: {len(report.confirmed)} variants as described, {grave} differences to look at."
    )
    if options.write:
        _write(parts, report, {entry.name for entry in wanted})
    return int(grave > 0)


def _write(parts: dict[Path, dict[str, Any]], report: check.Report, names: set[str]) -> None:
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    for path, part in parts.items():
        checked = check.applied([table for table in part["entries"] if table["name"] in names], report, day)
        by_name = {table["name"]: table for table in checked}
        merged = [by_name.get(table["name"], table) for table in part["entries"]]
        path.write_text(write.dumps(merged, part.get("quality_basis", "")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
