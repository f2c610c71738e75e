"""Making the environment of vLLM: for NVIDIA's GPUs on Linux, as the package index has it for no others."""

from __future__ import annotations

import tempfile
from pathlib import Path

from freehold.builder import torch
from freehold.builder.environment import filled, new_python, proven, version_of
from freehold.builder.make import Place
from freehold.builder.progress import OnStep, Step
from freehold.builder.run import run
from freehold.builder.workshop import working
from freehold.errors import BuildFailed, StoreError
from freehold.fleet import environments
from freehold.fleet.environments import Environment
from freehold.hardware.probe import Machine

_DOWNLOADED_BYTES = 4 * 10**9  # what is locked: the twelve largest wheels are 3.1 GB
_PACKAGES_BYTES = 10 * 10**9  # the same installed, by what such wheels usually unpack to
_TOLD = 12  # lines of a failed trial that are shown
_INSTEAD = "GGUF models run here without it; one on another machine can be used: docs/external.md."
# Runs under the environment's Python. vLLM itself would need a model to show more.
_TRIAL = """
import torch, vllm
torch.ones(8, device="cuda").sum().item()
print(f"vLLM {vllm.__version__} computes on {torch.cuda.get_device_name(0)}")
"""


def install(place: Place, report: OnStep) -> Environment:
    """Makes the environment, tries it, and puts it in place of an older one. Raises StoreError, also for a machine that it does
    not run on, SourceUnreachable, DiskFull, BuildFailed; an older environment is kept then."""
    check(place.machine)
    pinned = environments.pin("vllm")
    with working(place.root, "vllm", [pinned]) as work:
        home = work / "made"  # after Ctrl-C it stays, whole or not, and the next try goes on with it
        if not (home / "venv" / "bin" / "python").exists():
            new_python(home, _PACKAGES_BYTES + _DOWNLOADED_BYTES, report)
        filled("vllm", home, _PACKAGES_BYTES, report)
        new = Environment(
            name="vllm",
            version=f"vllm {version_of(home, 'vllm')}",
            torch=version_of(home, "torch"),
            device="cuda",
            pin=pinned,
            folder=home,
            made="by the package index that pip uses",
        )
        report(Step("testing", text="testing: it computes on the GPU"))
        return proven(place, new, _computes, report)


def check(machine: Machine) -> None:
    """Raises StoreError for a machine that vLLM's wheels are not for."""
    nvidia = [gpu for gpu in machine.gpus if gpu.kind == "cuda"]
    if machine.system != "Linux" or machine.architecture not in ("x86_64", "aarch64"):
        raise StoreError(f"vLLM is there for Linux only, and this is {machine.system} on {machine.architecture}.", _INSTEAD)
    if not nvidia:
        others = f" It has {machine.gpus[0].name}." if machine.gpus else ""
        raise StoreError(f"vLLM needs a GPU of NVIDIA's, and this machine has none that can be used.{others}", _INSTEAD)
    if not any(map(torch.takes_cuda_13, nvidia)):
        raise StoreError(
            f"vLLM needs NVIDIA's driver 580 and compute capability 7.5, and this is {nvidia[0].driver} with {nvidia[0].name}.",
            _INSTEAD,
        )


def _computes(environment: Environment) -> str:
    """One line on how it did. Raises BuildFailed when it does not."""
    with tempfile.TemporaryDirectory(prefix="fh-trial-") as folder:
        argv = (str(environment.python), "-I", "-c", _TRIAL)
        code, lines = run(argv, Path(folder), Path(folder) / "log", lambda line: None)
    if code or not lines:
        last = lines[-1] if lines else "it said nothing"
        raise BuildFailed(f"The engine vllm does not run: {last}", lines=tuple(lines[-_TOLD:]))
    return lines[-1]
