"""What `freehold tune` is worth: it is run, and then tuned against untuned in turns, idle and under a competing load."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.processes import FREEHOLD
from benchmarks.report import Report, median
from freehold.fleet.engines import Deployment
from freehold.fleet.tune.bench import Bench, Scale
from freehold.fleet.tune.candidates import Aspect, Candidate
from freehold.hardware.plan import Knobs
from freehold.hardware.probe import Machine, probe
from freehold.routing.catalog import Catalog, Entry
from freehold.routing.planner import Home, Planner
from freehold.settings import load
from freehold.store.store import Store

MODEL = "smollm2:135m"
_ASPECTS: dict[Aspect, str] = {
    "prefill": "reads",
    "decode": "writes",
    "together": "writes several answers at once",
    "repeat": "writes what it has read",
    "busy_prefill": "busy machine: reads",
    "busy": "busy machine: writes",
}


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """Needs the starter chat model. Tunes it (the result is kept, as a user's would be), then compares."""
    report = Report(f"Tuned against untuned ({MODEL})")
    found = _tune(quick, data_dir)
    entry, machine = _untuned(data_dir)
    chosen, start = _candidate(found["chosen"]), _candidate(found["untuned"])
    report.samples["tune"] = found
    report.add("two equal measurements differed by", found["noise"], "")
    samples = asyncio.run(_compare(entry, machine, (start, chosen), 3 if quick else 9))
    for aspect, what in _ASPECTS.items():
        before, after = ([sample[aspect] for sample in taken] for taken in samples)
        ratios = [new / old for old, new in zip(before, after, strict=True)]
        report.add(f"{what}, untuned", median(before), "tokens/s")
        report.add(f"{what}, tuned", median(after), "tokens/s")
        report.add(f"{what}, tuned / untuned", median(ratios), "", note=f"{min(ratios):.2f} to {max(ratios):.2f}")
        report.samples[aspect] = {"untuned": before, "tuned": after}
    changes = [knob for knob in found["chosen"]["knobs"] if _differs(found, knob)]
    report.add("knobs that were changed", len(changes), "", note=found["why"])
    return report


def _tune(quick: bool, data_dir: Path | None) -> Any:
    argv = [str(FREEHOLD), "tune", MODEL, "--json", *(["--quick"] if quick else [])]
    argv += ["--data-dir", str(data_dir)] if data_dir else []
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.stderr[-500:])
    return json.loads(done.stdout)


def _untuned(data_dir: Path | None) -> tuple[Entry, Machine]:
    settings, machine = load(None, {"data_dir": data_dir}), probe()
    planner = Planner(settings, Home.of(machine, settings), measured=False)
    return Catalog(Store(settings.data_dir), settings, planner).resolve(MODEL), machine


async def _compare(
    entry: Entry, machine: Machine, pair: tuple[Candidate, Candidate], rounds: int
) -> tuple[list[dict[Aspect, float]], list[dict[Aspect, float]]]:
    """The samples of both, measured in turns; who begins alternates."""

    def deploy(name: str, candidate: Candidate) -> Deployment:
        plan = replace(entry.deployment.plan, knobs=candidate.knobs, kv_type=candidate.kv_type)
        return replace(entry.deployment, name=name, plan=plan)

    taken: tuple[list[dict[Aspect, float]], list[dict[Aspect, float]]] = ([], [])
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as runtime:
        bench = Bench(deploy, Path(runtime), machine.cpu.usable, Scale(1.0, 512, 96), seed=1)
        try:
            await bench.calibrate(pair[0], machine.memory.available)
            aspects: Sequence[Aspect] = tuple(_ASPECTS)
            for turn in range(rounds):
                for index in (0, 1) if turn % 2 else (1, 0):
                    taken[index].append(dict(await bench.measure(pair[index], aspects)))
        finally:
            await bench.close()
    return taken


def _candidate(found: Any) -> Candidate:
    return Candidate(Knobs(**found["knobs"]), found["kv_type"])


def _differs(found: Any, knob: str) -> bool:
    return bool(found["chosen"]["knobs"][knob] != found["untuned"]["knobs"][knob])
