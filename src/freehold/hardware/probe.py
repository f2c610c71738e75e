"""What this machine has, read from the system's own files and tools: arguments here, so that any machine can be recorded."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.hardware import mac
from freehold.hardware.commands import Runner
from freehold.hardware.commands import run as run_program
from freehold.hardware.cpu import Cpu, linux_cpu
from freehold.hardware.files import text
from freehold.hardware.gpu import Gpu, linux_gpus
from freehold.hardware.memory import Memory, linux_memory
from freehold.hardware.namespaces import Namespaces, linux_namespaces
from freehold.hardware.nvidia import load_nvml


@dataclass(frozen=True)
class Machine:
    """`gpu_reason` says why `gpus` is empty or lacks one that is there, `gpu_remedy` what would change that. Sizes are bytes.

    `wsl`: Linux inside of Windows (Windows Subsystem for Linux).
    """

    system: str
    architecture: str
    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    gpu_reason: str | None
    namespaces: Namespaces
    gpu_remedy: str | None = None
    wsl: bool = False


def probe(
    root: Path = Path("/"),
    run: Runner = run_program,
    system: str | None = None,
    architecture: str | None = None,
    nvml: Callable[[], Any] = load_nvml,
) -> Machine:
    """Reads the machine below `root`, through the programs that `run` runs and the library that `nvml` gives; `system` and
    `architecture` are this machine's own unless given. Never fails: what is not known is 0 or "unknown".
    """
    system, architecture = system or platform.system(), architecture or platform.machine()
    if system == "Darwin":
        gpus = mac.mac_gpus(run)
        return Machine(
            system, architecture, mac.mac_cpu(run), mac.mac_memory(run), gpus.found, gpus.reason, mac.NAMESPACES, gpus.remedy
        )
    gpus = linux_gpus(root, run, nvml)
    return Machine(
        system=system,
        architecture=architecture,
        cpu=linux_cpu(root),
        memory=linux_memory(root),
        gpus=gpus.found,
        gpu_reason=gpus.reason,
        namespaces=linux_namespaces(root, run),
        gpu_remedy=gpus.remedy,
        wsl="microsoft" in (text(root / "proc/version") or "").lower(),
    )
