"""Writes the pages of docs/ that are made from the code; with --check, says which of them are out of date."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {
    "settings.md": "freehold.settings",
    "parameters.md": "freehold.protocol.reference",
    "cli.md": "freehold.cli.reference",
    "catalogue.md": "freehold.store.catalogue.page",
}


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for name, module in PAGES.items():
        text = importlib.import_module(module).markdown().rstrip() + "\n"
        page = DOCS / name
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        stale.append(f"docs/{name}")
        if not check:
            page.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'out of date, run `make docs`' if check else 'written'}: {', '.join(stale)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
