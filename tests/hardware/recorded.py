"""Recorded machines: one text file each, with the files, the programs' answers and NVIDIA's library as they were there.

# what it is
system Linux x86_64
=== proc/cpuinfo * 4              a file; `* 4` repeats it for processors 0 to 3, `{}` stands for the number
=== sys/…/cpu[0-3]/topology/…     a file for each processor; one line for all of them (with `{}`), or a line each
$$$ 0 nvidia-smi …                a program's exit code, its argv, and below what it writes
@@@ nvml                          JSON: {"error": 12} or {"driver": …, "cuda": …, "devices": [{…}]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from freehold.hardware.commands import NOT_FOUND, Ran
from freehold.hardware.probe import Machine, probe

MACHINES = Path(__file__).parent / "machines"
NAMES = sorted(path.stem for path in MACHINES.glob("*.txt"))


class NVMLError(Exception):
    """As pynvml's: `value` is the library's number."""

    def __init__(self, value: int):
        super().__init__(
            {9: "Driver Not Loaded", 12: "NVML Shared Library Not Found", 18: "Driver/library version mismatch"}[value]
        )
        self.value = value


class Unsupported(NVMLError):
    def __init__(self) -> None:
        Exception.__init__(self, "Not Supported")
        self.value = 3


@dataclass
class Nvml:
    """The part of pynvml that the probe uses, over a recording."""

    recorded: Mapping[str, Any]
    NVMLError: type[Exception] = NVMLError
    shut: bool = False

    def nvmlInit(self) -> None:
        if "error" in self.recorded:
            raise NVMLError(self.recorded["error"])

    def nvmlShutdown(self) -> None:
        self.shut = True

    def nvmlSystemGetDriverVersion(self) -> str:
        return str(self.recorded["driver"])

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return int(self.recorded["cuda"])

    def nvmlDeviceGetCount(self) -> int:
        return len(self.recorded["devices"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return self.recorded["devices"][index]

    def nvmlDeviceGetName(self, device: Any) -> str:
        return str(device["name"])

    def nvmlDeviceGetMemoryInfo(self, device: Any) -> Any:
        if "total" not in device:
            raise Unsupported
        return SimpleNamespace(total=device["total"] * 2**20, free=device["free"] * 2**20)

    def nvmlDeviceGetCudaComputeCapability(self, device: Any) -> tuple[int, int]:
        return tuple(device["compute"])  # type: ignore[return-value]

    def nvmlDeviceGetMigMode(self, device: Any) -> list[int]:
        if "mig" not in device:
            raise Unsupported
        return [int(bool(device["mig"]))] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Any) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Any, index: int) -> Any:
        if index >= len(device["mig"]):
            raise NVMLError(9)
        return device["mig"][index]


@dataclass
class Recording:
    system: str = "Linux"
    architecture: str = "x86_64"
    files: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Ran] = field(default_factory=dict)
    nvml: Mapping[str, Any] = field(default_factory=lambda: {"error": 12})

    def run(self, argv: Sequence[str]) -> Ran:
        if "python" in argv[0]:
            return Ran(0, "0\n")  # the trial of a network namespace
        return self.answers.get(argv[0], Ran(NOT_FOUND))

    def probe(self, root: Path) -> Machine:
        for name, content in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return probe(root, self.run, self.system, self.architecture, lambda: Nvml(self.nvml))


def read(name: str) -> Recording:
    recording = Recording()
    parts = re.split(r"^(===|\$\$\$|@@@) ", (MACHINES / f"{name}.txt").read_text(), flags=re.MULTILINE)
    if found := re.search(r"^system (\S+) (\S+)$", parts[0], re.MULTILINE):
        recording.system, recording.architecture = found[1], found[2]
    for mark, part in zip(parts[1::2], parts[2::2], strict=True):
        head, _, body = part.partition("\n")
        if mark == "===":
            recording.files |= _files(head.strip(), body)
        elif mark == "$$$":
            code, program = head.split()[:2]
            recording.answers[program] = Ran(int(code), body)
        else:
            recording.nvml = json.loads(body)
    return recording


def _files(head: str, body: str) -> dict[str, str]:
    path, _, times = head.partition(" * ")
    if times:
        return {path: "".join(body.rstrip("\n").replace("{}", str(number)) + "\n\n" for number in range(int(times)))}
    if span := re.search(r"\[(\d+)-(\d+)\]", path):
        first, last = int(span[1]), int(span[2])
        lines = body.strip().splitlines()
        names = [path.replace(span[0], str(number)) for number in range(first, last + 1)]
        given = lines * len(names) if len(lines) == 1 else lines
        return {
            name: line.replace("{}", str(first + at)) + "\n" for at, (name, line) in enumerate(zip(names, given, strict=True))
        }
    return {path: body}
