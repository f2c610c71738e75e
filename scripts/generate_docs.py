"""Writes the pages of docs/ that are made from the code, whole or in part; with --check, says which of them are out of date."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {
    "settings.md": "freehold.settings.page",
    "parameters.md": "freehold.protocol.reference",
    "cli.md": "freehold.cli.reference",
    "catalogue.md": "freehold.store.catalogue.page",
}
# Between these two lines of the page.
PARTS = {"clients.md": "tests.libraries.table"}
BEGIN, END = "<!-- made by `make docs` -->", "<!-- until here -->"


def wanted(name: str) -> str:
    """What a page should be."""
    if name in PAGES:
        return str(importlib.import_module(PAGES[name]).markdown()).rstrip() + "\n"
    made = f"{BEGIN}\n{importlib.import_module(PARTS[name]).markdown()}\n{END}"
    return re.sub(f"{BEGIN}.*{END}", lambda _: made, (DOCS / name).read_text(encoding="utf-8"), count=1, flags=re.DOTALL)


def main() -> int:
    sys.path.insert(0, str(ROOT))
    check = "--check" in sys.argv[1:]
    stale = []
    for name in (*PAGES, *PARTS):
        text = wanted(name)
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
