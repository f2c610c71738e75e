"""How many threads an engine gets on this machine."""

from __future__ import annotations

import platform
from pathlib import Path

from freehold.hardware import mac
from freehold.hardware.commands import Runner
from freehold.hardware.commands import run as run_program
from freehold.hardware.cpu import linux_cpu


def engine_threads(root: Path = Path("/"), run: Runner = run_program, system: str | None = None) -> int:
    """The physical cores this process may use, of a hybrid processor the fast ones.

    A second thread on the same core slows llama.cpp's matrix kernels down, and one on a slow core makes all others wait.
    """
    if (system or platform.system()) == "Darwin":
        return mac.mac_cpu(run).fast_cores
    return linux_cpu(root).fast_cores
