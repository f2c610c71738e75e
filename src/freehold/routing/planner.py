"""How each installed model is run on this machine: its plan, from its facts, the settings and the memory there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from freehold.fleet import builds, environments
from freehold.fleet.remote import UNTOLD
from freehold.hardware import canvas, tuning
from freehold.hardware.budget import Budget, Device, budget_of
from freehold.hardware.fit import Misfit, Shape, Want, plan, shape_of
from freehold.hardware.memory import linux_memory
from freehold.hardware.plan import HOST, Knobs, KvType, Plan, Share
from freehold.hardware.probe import Machine
from freehold.hardware.threads import engine_threads
from freehold.settings import MemorySettings, ModelSettings, Settings
from freehold.store.manifest import Manifest

_FACTLESS_CONTEXT = 4096
_TOKENLESS = frozenset({"transcription", "diarization", "speech", "image"})  # tasks whose requests are not measured in tokens
_UNKNOWN = 2**50  # bytes


@dataclass(frozen=True)
class Home:
    """This machine as models find it when the server starts: the engine's build they run on, and the memory they may take.

    `drawing` are the GPUs that the engine for pictures can use: it is another program, and may reach others than llama.cpp.
    `named` are those that the settings name for engines of other makers.
    """

    machine: Machine
    build: str
    budget: Budget
    explicit: bool = False  # the budget is the user's own figure
    drawing: tuple[Device, ...] = ()
    named: tuple[Device, ...] = ()

    @classmethod
    def of(cls, machine: Machine, settings: Settings) -> Home:
        """Raises NotInstalled for a build that is not there."""
        choice = builds.choose(
            builds.folder(settings.data_dir),
            settings.engine.build,
            builds.backends(machine),
            machine.cpu.instruction_sets,
        )
        memory = settings.memory
        made = environments.installed(builds.folder(settings.data_dir))
        kinds = {environment.device for environment in made if environment.name == "diffusers"}
        return cls(
            machine,
            choice.build.name,
            _budget(machine, choice.build.backend, memory),
            memory.budget != "auto",
            budget_of(machine, kinds - {"cpu"}).gpus,
            budget_of(machine, {own.device.partition(":")[0] for own in settings.models.values() if own.memory}).gpus,
        )

    @property
    def whole(self) -> Budget:
        """All devices that any model may be on."""
        devices = {device.name: device for device in (*self.named, *self.drawing, *self.budget.devices)}
        ours = [device.name for device in self.budget.devices]
        return replace(self.budget, devices=tuple(devices[name] for name in dict.fromkeys((*ours, *devices))))

    @property
    def bytes_by_device(self) -> Mapping[str, int]:
        return {device.name: device.free_bytes for device in self.whole.devices}

    def within(self, budget: Mapping[str, int]) -> Home:
        """This machine with the bytes by device that a running server plans with: what is free now lacks what its models have.

        A budget that is the user's own figure stays.
        """
        if self.explicit:
            return self

        def planned(devices: tuple[Device, ...]) -> tuple[Device, ...]:
            return tuple(replace(device, free_bytes=budget.get(device.name, device.free_bytes)) for device in devices)

        own = replace(self.budget, devices=planned(self.budget.devices))
        return replace(self, budget=own, drawing=planned(self.drawing), named=planned(self.named))

    def observed(self) -> dict[str, int]:
        """Bytes that are really free now for models to come, where that can be known: other programs come and go, too."""
        if self.machine.system != "Linux":
            return {}
        return {HOST: linux_memory(Path("/")).available}


class Planner:
    """Plans depend on the whole budget alone, not on what others use of it: the same model always gets the same place.

    With `measured`, they have the knobs that `freehold tune` found.
    """

    def __init__(self, settings: Settings, home: Home, *, measured: bool = True):
        self._measured = measured
        self._settings = settings
        self._home = home
        self._engines = builds.versions(builds.folder(settings.data_dir))
        self._machine = tuning.fingerprint(home.machine)

    def plan(self, manifest: Manifest) -> Plan | Misfit:
        own = self._settings.models.get(manifest.name, ModelSettings())
        if manifest.facts is None:
            return self._unknown(manifest, own)
        beside = sum(file.size for file in manifest.files if file.role in ("projector", "adapter"))
        shape = shape_of(manifest.facts, beside)
        tuned = self.tuned(manifest)
        found = plan(shape, self._home.budget, self._want(own, manifest.options, tuned))
        return replace(found, tuned=tuned.day) if tuned is not None and isinstance(found, Plan) else found

    def plan_shape(self, name: str, shape: Shape) -> Plan | Misfit:
        """The plan of a model that is not installed."""
        return plan(shape, self._home.budget, self._want(self._settings.models.get(name, ModelSettings()), {}, None))

    def tuned(self, manifest: Manifest) -> tuning.Tuned | None:
        """What was measured about a model on this machine, with the build that runs it."""
        weights = manifest.file("weights")
        if not self._measured or weights is None:
            return None
        engines = self._engines
        if self._settings.engine.build != builds.AUTO:
            engines = {name: pin for name, pin in engines.items() if name == self._home.build}
        return tuning.lookup(self._settings.data_dir, weights.identity, self._machine, engines)

    def _want(self, own: ModelSettings, options: Mapping[str, Any], tuned: tuning.Tuned | None) -> Want:
        engine = self._settings.engine
        kv_type: KvType | Literal["auto"] = own.kv_type or engine.kv_type
        if kv_type == "auto" and tuned is not None and tuned.kv_type != "f16":
            kv_type = tuned.kv_type
        context = own.context or int(options.get("context", 0)) or engine.context
        return Want(
            context=context,
            slots=own.slots or int(options.get("slots", 0)) or engine.slots,
            kv_type=kv_type,
            prompt_cache_mib=engine.prompt_cache_mib,
            knobs=self._knobs(own, tuned),
        )

    def _knobs(self, own: ModelSettings, tuned: tuning.Tuned | None) -> Knobs:
        """Measured ones, else the defaults; threads that the user set win over both."""
        threads = own.threads or self._settings.engine.threads
        if tuned is None:
            count = threads or engine_threads()
            return Knobs(threads=count, threads_batch=count, build=self._home.build)
        return replace(tuned.knobs, threads=threads, threads_batch=threads) if threads else tuned.knobs

    def _unknown(self, manifest: Manifest, own: ModelSettings) -> Plan | Misfit:
        """A model that says nothing of itself runs as it is asked to, in the memory that its options name."""
        engine, options = self._settings.engine, manifest.options
        picture = canvas.Canvas.of(options)
        if picture is not None:
            budget = replace(self._home.budget, devices=(self._home.budget.host, *self._home.drawing))
            return canvas.plan(picture, budget, self._knobs(own, None))
        if own.engine is not None:
            return self._external(own)
        memory = int(options.get("memory_bytes", 0))
        told, free = int(options.get("context", 0)), self._home.budget.host.free_bytes
        if memory > free:
            reason = f"It needs {memory / 2**30:.1f} GiB, and there is {free / 2**30:.1f} GiB on host free."
            return Misfit(memory, self._home.bytes_by_device, reason)
        return Plan(
            context=0 if manifest.task in _TOKENLESS else own.context or told or engine.context or _FACTLESS_CONTEXT,
            slots=own.slots or int(options.get("slots", 0)) or engine.slots or 4,
            knobs=self._knobs(own, None),
            memory=(Share(HOST, 0, 0, memory),) if memory else (),
        )

    def _external(self, own: ModelSettings) -> Plan | Misfit:
        """An engine of another maker, in the memory that its user says it takes."""
        free = self._home.bytes_by_device
        if own.memory and own.memory > free.get(own.device, 0):
            there = f"{free[own.device] / 2**30:.1f} GiB on {own.device} free" if own.device in free else f"no {own.device}"
            reason = f"Its setting `memory` is {own.memory / 2**30:.1f} GiB, and there is {there}."
            return Misfit(own.memory, free, reason)
        return Plan(
            context=own.context or UNTOLD,
            slots=own.slots or self._settings.engine.slots or 4,
            knobs=self._knobs(own, None),
            memory=(Share(own.device, 0, 0, own.memory),) if own.memory else (),
        )


def _budget(machine: Machine, backend: str, memory: MemorySettings) -> Budget:
    reserve = None if memory.reserve == "auto" else memory.reserve
    budget = budget_of(machine, {backend}, reserve)
    if memory.budget != "auto":
        host = replace(budget.host, free_bytes=memory.budget)
    elif machine.memory.total == 0:  # nothing is known: then nothing is held against a model
        host = replace(budget.host, free_bytes=_UNKNOWN)
    else:
        return budget
    return replace(budget, devices=tuple(host if device.name == HOST else device for device in budget.devices))
