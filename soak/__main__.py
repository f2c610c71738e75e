"""Runs the soak items named on the command line, or all of them: table on stdout, JSON under benchmarks/results/.

The exit code is 1 when a figure missed its goal.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.report import save
from soak import crashes, disconnects, fairness, files, overload, requests, slow, state, timeouts

ITEMS = {
    "short-fake": requests.short_fake,
    "short-real": requests.short_real,
    "counters": requests.counters,
    "overload": overload.overload,
    "slow-readers": slow.slow_readers,
    "connections": slow.connections,
    "fairness": fairness.fairness,
    "disconnects": disconnects.disconnects,
    "timeouts": timeouts.timeouts,
    "crash-loop": crashes.crash_loop,
    "damaged-files": files.damaged_files,
    "state": state.state,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(ITEMS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="seconds of each: shows that they run, not what they find")
    parser.add_argument("--data-dir", type=Path, help="folder of the real models (default: the user's own)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(ITEMS):
        parser.error(f"there is no item {', '.join(sorted(unknown))}")
    missed = []
    for name in arguments.names or ITEMS:
        began = time.perf_counter()
        report = ITEMS[name](quick=arguments.quick, data_dir=arguments.data_dir)
        report.add("this run took", time.perf_counter() - began, "s")
        missed += [f"{name}: {what}" for what in report.missed]
        print(report.table(), flush=True)
        print(f"  written to {save(f'soak-{name}', report)}\n", flush=True)
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
