"""This machine as a choice of models sees it: the memory they may take, the build that runs them, and how fast memory is."""

from __future__ import annotations

from dataclasses import replace

from freehold.fleet import builds
from freehold.hardware import bandwidth, tuning
from freehold.hardware.budget import Budget, budget_of
from freehold.hardware.memory import Memory
from freehold.hardware.plan import HOST
from freehold.hardware.probe import Machine, probe
from freehold.hardware.speed import Expected, Rates
from freehold.routing.advice import Here
from freehold.settings import Settings

_USUAL_GPU = 300e9  # bytes a second of a middling GPU, for one that the table of bandwidths does not know


def look(settings: Settings, held: int = 0, speeds: bool = True) -> Here:
    """Probes the machine. `held` are bytes that loaded models hold: they make room for others. Without `speeds` nothing is
    measured, which saves half a second."""
    return here_of(probe(), settings, held, speeds)


def here_of(machine: Machine, settings: Settings, held: int = 0, speeds: bool = True) -> Here:
    """The same of a machine that has been probed. Raises as `builds.chosen` does."""
    build = builds.chosen(settings.data_dir, settings.engine.build, lambda: machine).build
    backends = frozenset({build.backend}) - {"cpu"}
    budget = budget_for(machine, settings, backends, held)
    rates, notes = _rates(machine, budget, backends) if speeds else (None, [])
    if machine.gpus and not budget.gpus:
        possible = ", ".join(sorted(builds.backends(machine))) or "it"
        notes.insert(0, f"The GPU ({machine.gpus[0].name}) is not counted: no build for {possible} is installed.")
    versions = builds.versions(builds.folder(settings.data_dir))
    seen = tuning.fingerprint(machine)

    def measured(digest: str) -> Expected | None:
        found = tuning.lookup(settings.data_dir, f"sha256:{digest}", seen, versions)
        if found is None or not found.speed.decode or not found.speed.prefill:
            return None
        return Expected(found.speed.decode, found.speed.prefill, measured=True)

    return Here(budget, rates, tuple(notes), measured)


def budget_for(machine: Machine, settings: Settings, backends: frozenset[str], held: int = 0) -> Budget:
    """The memory that models may take: what is available, with what loaded models hold, within the setting memory.budget."""
    memory = machine.memory
    available = min(memory.total, memory.available + held)
    budget = budget_of(replace(machine, memory=Memory(memory.total, available)), backends)
    limit = settings.memory.budget
    if limit == "auto":
        return budget
    devices = [
        replace(device, free_bytes=min(device.free_bytes, limit)) if device.name == HOST else device
        for device in budget.devices
    ]
    return replace(budget, devices=tuple(devices))


def _rates(machine: Machine, budget: Budget, backends: frozenset[str]) -> tuple[Rates, list[str]]:
    host = bandwidth.measure(machine.memory, machine.cpu.usable)
    by_device, notes = {HOST: host}, []
    reached = [gpu for gpu in machine.gpus if gpu.kind in backends or ("vulkan" in backends and gpu.kind != "metal")]
    for device, gpu in zip(budget.gpus, reached, strict=True):
        published = bandwidth.of_gpu(gpu.name) or (host if gpu.unified else None)
        by_device[device.name] = published or _USUAL_GPU
        if published is None:
            notes.append(f"The bandwidth of {gpu.name} is not known; {_USUAL_GPU / 1e9:.0f} GB/s are assumed.")
    kinds = {device.name: device.kind for device in budget.devices}
    notes.insert(0, f"Speeds are estimates from memory copied at {host / 1e9:.0f} GB/s just now; `freehold tune` measures.")
    return Rates(by_device, kinds, machine.cpu.usable, machine.cpu.instruction_sets), notes
