"""Runs the benchmarks named on the command line, or all of them: table on stdout, JSON under benchmarks/results/."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import (
    dialects,
    drawing,
    embeddings,
    engine,
    fit,
    native,
    overhead,
    prefix,
    realtime,
    speech,
    startup,
    transcription,
    tuning,
)
from benchmarks.report import save

BENCHMARKS = {
    "overhead": overhead.run,
    "dialects": dialects.run,
    "engine": engine.run,
    "embeddings": embeddings.run,
    "startup": startup.run,
    "prefix": prefix.run,
    "tuning": tuning.run,
    "fit": fit.run,
    "speech": speech.run,
    "transcription": transcription.run,
    "drawing": drawing.run,
    "native": native.run,
    "realtime": realtime.run,
}
_SPECIAL = {"native", "realtime"}  # need more than the starter models, and run only when they are named


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(BENCHMARKS)} (default: all but native and realtime)"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests: tells that it works, not how fast it is")
    parser.add_argument("--data-dir", type=Path, help="folder of the real models (default: the user's own)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    for name in arguments.names or [name for name in BENCHMARKS if name not in _SPECIAL]:
        report = BENCHMARKS[name](quick=arguments.quick, data_dir=arguments.data_dir)
        print(report.table(), flush=True)
        print(f"  written to {save(name, report)}\n", flush=True)


if __name__ == "__main__":
    main()
