"""What `freehold tune` is worth: it is run, and then tuned against untuned in turns, idle and under a competing load."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
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
_ROUNDS = 9
_SEARCH, _COMPARE = 110.0, 90.0  # seconds; together with the loads less than four minutes
_QUICK_COMPARE = 20.0
_ASPECTS: dict[Aspect, str] = {
    "prefill": "reads",
    "decode": "writes",
    "together": "writes several answers at once",
    "repeat": "writes what it has read",
    "busy_prefill": "busy machine: reads",
    "busy": "busy machine: writes",
}


def run(*, quick: bool, data_dir: Path | None) -> Report:
    """Needs the starter chat model. Tunes it (the result is kept, as a user's would be), then compares. Says what it does on
    stderr, and ends in less than four minutes."""
    report = Report(f"Tuned against untuned ({MODEL})")
    found = _tune(quick, data_dir)
    entry, machine = _untuned(data_dir)
    chosen, start = _candidate(found["chosen"]), _candidate(found["untuned"])
    report.samples["tune"] = found
    report.add("two equal measurements differed by", found["noise"], "")
    samples = asyncio.run(_compare(entry, machine, (start, chosen), _QUICK_COMPARE if quick else _COMPARE))
    report.add("rounds", len(samples[0]), "", note=f"tuned: {_differences(found) or 'the same settings'}")
    for aspect, what in _ASPECTS.items():
        before, after = ([sample[aspect] for sample in taken] for taken in samples)
        ratios = [new / old for old, new in zip(before, after, strict=True)]
        report.add(f"{what}, untuned", median(before), "tokens/s")
        report.add(f"{what}, tuned", median(after), "tokens/s")
        report.add(f"{what}, tuned / untuned", median(ratios), "", note=f"{min(ratios):.2f} to {max(ratios):.2f}")
        report.samples[aspect] = {"untuned": before, "tuned": after}
    return report


def _tune(quick: bool, data_dir: Path | None) -> Any:
    argv = [str(FREEHOLD), "tune", MODEL, "--json", *(["--quick"] if quick else ["--seconds", str(_SEARCH)])]
    argv += ["--data-dir", str(data_dir)] if data_dir else []
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit("freehold tune ended with an error")  # which it has said
    return json.loads(done.stdout)


def _untuned(data_dir: Path | None) -> tuple[Entry, Machine]:
    settings, machine = load(None, {"data_dir": data_dir}), probe()
    planner = Planner(settings, Home.of(machine, settings), measured=False)
    return Catalog(Store(settings.data_dir), settings, planner).resolve(MODEL), machine


async def _compare(
    entry: Entry, machine: Machine, pair: tuple[Candidate, Candidate], seconds: float
) -> tuple[list[dict[Aspect, float]], list[dict[Aspect, float]]]:
    """The samples of both, measured in turns; who begins alternates. One round at least, then as many as there is time for."""

    def deploy(name: str, candidate: Candidate) -> Deployment:
        plan = replace(entry.deployment.plan, knobs=candidate.knobs, kv_type=candidate.kv_type)
        return replace(entry.deployment, name=name, plan=plan)

    taken: tuple[list[dict[Aspect, float]], list[dict[Aspect, float]]] = ([], [])
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as runtime:
        bench = Bench(deploy, Path(runtime), machine.cpu.usable, Scale(1.0, 512, 96), seed=1)
        try:
            await bench.calibrate(pair[0], machine.memory.available)
            aspects: Sequence[Aspect] = tuple(_ASPECTS)
            began = time.monotonic()
            for turn in range(_ROUNDS):
                for index in (0, 1) if turn % 2 else (1, 0):
                    taken[index].append(dict(await bench.measure(pair[index], aspects)))
                gone = time.monotonic() - began
                print(f"comparing: round {turn + 1} of at most {_ROUNDS}, {gone:.0f} s", file=sys.stderr, flush=True)
                if gone * (turn + 2) / (turn + 1) > seconds:
                    break
        finally:
            await bench.close()
    return taken


def _candidate(found: Any) -> Candidate:
    return Candidate(Knobs(**found["knobs"]), found["kv_type"])


def _differences(found: Any) -> str:
    tuned, untuned = ({**found[which]["knobs"], "kv_type": found[which]["kv_type"]} for which in ("chosen", "untuned"))
    return ", ".join(f"{knob} {tuned[knob]} instead of {untuned[knob]}" for knob in tuned if tuned[knob] != untuned[knob])
