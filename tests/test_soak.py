"""The long runs of `make soak`, a few seconds of each: that they work, not what they find."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from soak.__main__ import ITEMS
from soak.judge import Judged, slope

ROOT = Path(__file__).parent.parent
EXACT = {"counters", "state"}  # what does not depend on the machine's speed must be met even here


@pytest.mark.parametrize("item", ITEMS)
def test_every_item_runs_and_writes_its_figures(item: str, starters: Path) -> None:
    argv = [sys.executable, "-m", "soak", "--quick", "--data-dir", str(starters), item]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or (item not in EXACT and done.stderr.startswith("missed: ")), done.stderr
    path = ROOT / done.stdout.rpartition("written to ")[2].split("\n")[0].strip()
    written = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    assert [figure for figure in written["figures"] if figure["goal"]]
    assert (done.returncode == 0) == (not written["missed"])


def test_a_missed_goal_is_told() -> None:
    report = Judged("x")
    report.at_most("a", 1.01, 1, "s")
    report.at_least("b", 1, 1, "s")
    report.exactly("c", 2, 3, "")
    assert report.missed == ["a", "c"]
    assert report.table().count("MISSED") == 2


def test_a_slope_is_the_rise_per_request() -> None:
    assert slope([(0, 5.0), (10, 7.0), (20, 9.0)]) == pytest.approx(0.2)
    assert slope([(0, 5.0)]) == slope([(3, 1.0), (3, 9.0)]) == 0
