"""Runs one of Freehold's modules under the Python of an engine environment: `python -I start.py MODULE ARG…`.

That Python has its own packages. Of this installation it gets the package `freehold` alone: with its whole folder on the path,
packages of two environments would mix. Stdlib only.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    home = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location("freehold", home / "__init__.py", submodule_search_locations=[str(home)])
    assert spec is not None and spec.loader is not None  # noqa: S101 - it is this very package
    package = importlib.util.module_from_spec(spec)
    sys.modules["freehold"] = package
    spec.loader.exec_module(package)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
