"""This machine as a choice of models sees it: the memory they may take, the build that runs them, and how fast memory is."""

from __future__ import annotations

import time
from pathlib import Path

from freehold.fleet import builds
from freehold.hardware import bandwidth, tuning
from freehold.hardware.plan import HOST
from freehold.hardware.quickest import Seen, quickest
from freehold.hardware.speed import Expected, Rates
from freehold.routing.advice import Here
from freehold.routing.planner import Home
from freehold.settings import Settings

_USUAL_GPU = 300e9  # bytes a second of a middling GPU, for one that the table of bandwidths does not know


def look(home: Home, settings: Settings, speeds: bool = True) -> Here:
    """What models find at home. Without `speeds` nothing is measured, which saves half a second."""
    rates, notes = _rates(home, settings.data_dir) if speeds else (None, [])
    if home.machine.gpus and not home.budget.gpus:
        possible = ", ".join(sorted(builds.backends(home.machine))) or "it"
        notes.insert(0, f"The GPU ({home.machine.gpus[0].name}) is not counted: no build for {possible} is installed.")
    versions = builds.versions(builds.folder(settings.data_dir))
    machine = tuning.fingerprint(home.machine)

    def measured(digest: str) -> Expected | None:
        found = tuning.lookup(settings.data_dir, f"sha256:{digest}", machine, versions)
        if found is None or not found.speed.decode or not found.speed.prefill:
            return None
        return Expected(found.speed.decode, found.speed.prefill, measured=True)

    return Here(home.budget, rates, tuple(notes), measured)


def _rates(home: Home, data_dir: Path) -> tuple[Rates, list[str]]:
    """For the host the quickest that was measured here, now or earlier; for GPUs what their makers publish."""
    machine, budget = home.machine, home.budget
    now = Seen(bandwidth.measure(machine.memory, machine.cpu.usable), time.time())
    best = quickest(data_dir, tuning.fingerprint(machine), now)
    host, when = best.bandwidth, "just now" if best is now else f"on {best.day}, at its quickest"
    notes = [f"Speeds are estimates from memory copied at {host / 1e9:.0f} GB/s {when}; `freehold tune` measures."]
    by_device = {HOST: host}
    kinds = {device.name: device.kind for device in budget.devices}
    reached = [
        gpu for gpu in machine.gpus if gpu.kind in kinds.values() or ("vulkan" in kinds.values() and gpu.kind != "metal")
    ]
    for device, gpu in zip(budget.gpus, reached, strict=True):
        published = bandwidth.of_gpu(gpu.name) or (host if gpu.unified else None)
        by_device[device.name] = published or _USUAL_GPU
        if published is None:
            notes.append(f"The bandwidth of {gpu.name} is not known; {_USUAL_GPU / 1e9:.0f} GB/s are assumed.")
    return Rates(by_device, kinds, machine.cpu.usable, machine.cpu.instruction_sets), notes
