"""The same facts on macOS, from sysctl and vm_stat."""

from __future__ import annotations

import re

from freehold.hardware.commands import Runner
from freehold.hardware.cpu import Cpu, named_sets
from freehold.hardware.gpu import Gpu, Gpus
from freehold.hardware.memory import Memory
from freehold.hardware.namespaces import Namespaces

_KEYS = (
    "machdep.cpu.brand_string",
    "hw.physicalcpu",
    "hw.logicalcpu",
    "hw.memsize",
    "machdep.cpu.features",
    "machdep.cpu.leaf7_features",
    "hw.optional.neon",
    "hw.optional.arm.FEAT_DotProd",
    "hw.optional.arm.FEAT_I8MM",
    "hw.optional.arm.FEAT_BF16",
    "hw.perflevel0.physicalcpu",
    "iogpu.wired_limit_mb",
)
_FLAGS = {
    "hw.optional.neon": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
}
_LARGE = 36 * 2**30
NAMESPACES = Namespaces(
    False, "only Linux has network namespaces", "Workers share this machine's network here; a firewall can bar them from it."
)


def mac_cpu(run: Runner) -> Cpu:
    values = _sysctl(run)
    flags = f"{values.get('machdep.cpu.features', '')} {values.get('machdep.cpu.leaf7_features', '')}".lower()
    flags = flags.replace("avx1.0", "avx")
    given = [*flags.split(), *(flag for key, flag in _FLAGS.items() if values.get(key) == "1")]
    logical = _whole(values.get("hw.logicalcpu")) or 1
    return Cpu(
        model=values.get("machdep.cpu.brand_string", "unknown"),
        physical_cores=_whole(values.get("hw.physicalcpu")) or logical,
        logical_cpus=logical,
        usable=logical,
        instruction_sets=named_sets(given),
        fast_cores=_whole(values.get("hw.perflevel0.physicalcpu")) or _whole(values.get("hw.physicalcpu")) or logical,
    )


def mac_memory(run: Runner) -> Memory:
    """`available` counts the pages that are free, speculative, inactive or purgeable."""
    total = _whole(_sysctl(run).get("hw.memsize"))
    listing = run(("vm_stat",)).out
    page = re.search(r"page size of (\d+) bytes", listing)
    pages = re.findall(r"^Pages (?:free|speculative|inactive|purgeable):\s+(\d+)\.", listing, re.MULTILINE)
    return Memory(total, min(total, sum(map(int, pages)) * int(page[1]) if page else 0))


def mac_gpus(run: Runner) -> Gpus:
    """Apple's own processors carry a GPU that shares their memory.

    Metal may hold two thirds of it, of more than 36 GiB three quarters (MTLDevice.recommendedMaxWorkingSetSize), unless the
    user has set another limit.
    """
    values = _sysctl(run)
    model, memory = values.get("machdep.cpu.brand_string", ""), _whole(values.get("hw.memsize"))
    if not model.startswith("Apple"):
        return Gpus((), "no Apple GPU")
    limit = _whole(values.get("iogpu.wired_limit_mb")) * 2**20
    limit = limit or (memory * 3 // 4 if memory > _LARGE else memory * 2 // 3)
    return Gpus((Gpu(model, limit, "Metal", "metal", 0, min(limit, mac_memory(run).available), True),))


def _sysctl(run: Runner) -> dict[str, str]:
    """The known ones of the keys; sysctl leaves out, with an error, those this Mac does not have."""
    lines = run(("sysctl", *_KEYS)).out.splitlines()
    return {name.strip(): value.strip() for name, separator, value in (line.partition(":") for line in lines) if separator}


def _whole(value: str | None) -> int:
    return int(value) if value and value.isdecimal() else 0
