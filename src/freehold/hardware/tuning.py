"""What `freehold tune` measured, written down: one small JSON file for each model × machine × engine.

    data_dir/tuning/<model>-<machine>-<engine>.json

A result holds for the bytes of a model, the machine it was measured on, and one version of one build of the engine; for
anything else it is not found. Whatever in the folder cannot be read, or makes no sense, is left out with a warning: it costs
speed, never a start.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from freehold.hardware import records
from freehold.hardware.plan import Knobs, KvType
from freehold.hardware.probe import Machine
from freehold.telemetry import log

SCHEMA = 1
_LARGEST_FILE = 1 << 16
_LIMITS = {"threads": (1, 1024), "threads_batch": (1, 1024), "batch": (1, 1 << 20), "ubatch": (1, 1 << 20), "poll": (0, 100)}


@dataclass(frozen=True)
class Speed:
    """Tokens a second by the engine's own clock: reading one prompt, writing one answer, writing `streams` answers at once (all
    of them together); reading and writing while other programs keep every core busy. None for what was not measured."""

    prefill: float | None = None
    decode: float | None = None
    together: float | None = None
    busy_prefill: float | None = None
    busy: float | None = None


@dataclass(frozen=True)
class Tuned:
    """The outcome of a search.

    `model` is the identity of its weights (a digest, for files of the store), `machine` a fingerprint, `engine` the version of
    `knobs.build`; `untuned` is what the defaults gave in the same run, `measured` Unix time, `why` one sentence for people.
    """

    model: str
    machine: str
    engine: str
    knobs: Knobs
    kv_type: KvType
    streams: int
    speed: Speed
    untuned: Speed
    measured: int
    why: str = ""

    @property
    def day(self) -> str:
        """The date it was measured on, in UTC: "2026-11-25"."""
        return f"{datetime.datetime.fromtimestamp(self.measured, datetime.UTC):%Y-%m-%d}"


def fingerprint(machine: Machine) -> str:
    """What of a machine decides speed, as 12 hex digits: processor, cores that may be used, instruction sets, GPUs, and the
    memory's class (the nearest power of two; a kernel's own share makes the exact figure differ from boot to boot)."""
    cpu = machine.cpu
    memory = round(math.log2(machine.memory.total)) if machine.memory.total > 0 else 0
    gpus = [(gpu.name, gpu.memory_bytes) for gpu in machine.gpus]
    told = (machine.architecture, cpu.model, cpu.usable, cpu.physical_cores, sorted(cpu.instruction_sets), gpus, memory)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def save(data_dir: Path, tuned: Tuned) -> Path:
    """Writes a result, whole or not at all, in place of an older one of the same three. Raises OSError."""
    path = _folder(data_dir) / _name(tuned)
    records.write(path, {"schema": SCHEMA, **asdict(tuned)})
    return path


def lookup(data_dir: Path, model: str, machine: str, engines: Mapping[str, str]) -> Tuned | None:
    """The newest result for a model on a machine, of the builds and versions in `engines` (version by build name)."""
    known = [
        tuned
        for tuned in everything(data_dir, model)
        if tuned.machine == machine and engines.get(tuned.knobs.build) == tuned.engine
    ]
    return max(known, key=lambda tuned: tuned.measured, default=None)


def everything(data_dir: Path, model: str | None = None) -> list[Tuned]:
    """All results, or those for one model; of any machine and engine."""
    return [tuned for path in _paths(data_dir, model) if (tuned := _read(path)) is not None]


def forget(data_dir: Path, model: str) -> int:
    """Removes what is written down about a model, readable or not; returns how many files that were."""
    paths = list(_paths(data_dir, model))
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _folder(data_dir: Path) -> Path:
    return data_dir / "tuning"


def _name(tuned: Tuned) -> str:
    engine = hashlib.sha256(f"{tuned.knobs.build} {tuned.engine}".encode()).hexdigest()[:8]
    return f"{_stem(tuned.model)}-{tuned.machine}-{engine}.json"


def _stem(model: str) -> str:
    return hashlib.sha256(model.encode()).hexdigest()[:16]


def _paths(data_dir: Path, model: str | None) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(
            path
            for path in _folder(data_dir).iterdir()
            if path.suffix == ".json" and path.name[0] != "." and (model is None or path.name.startswith(f"{_stem(model)}-"))
        )


def _read(path: Path) -> Tuned | None:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("it is too large")
        tuned = _parsed(json.loads(path.read_text(encoding="utf-8")))
        if _name(tuned) != path.name:
            raise ValueError("its name does not belong to what is in it")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log("tuning ignored", level=30, file=path.name, reason=str(error)[:200])
        return None
    return tuned


def _parsed(data: Any) -> Tuned:
    from pydantic import TypeAdapter

    if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
        raise ValueError(f"its form is not version {SCHEMA}")
    tuned: Tuned = TypeAdapter(Tuned).validate_python(data)
    for name, (least, most) in _LIMITS.items():
        if not least <= getattr(tuned.knobs, name) <= most:
            raise ValueError(f"{name} is out of range")
    for figure in (*asdict(tuned.speed).values(), *asdict(tuned.untuned).values()):
        if figure is not None and not 0 < figure < 1e9:
            raise ValueError("a speed makes no sense")
    if not 0 <= tuned.measured < 1 << 36:
        raise ValueError("its date makes no sense")
    return tuned
