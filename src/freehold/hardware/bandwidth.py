"""How fast memory can be read here: what decoding a token waits for. A quick measurement for the host, a table for GPUs."""

from __future__ import annotations

import ctypes
import re
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType

from freehold.hardware.memory import Memory

_MIB = 2**20
_MOST, _LEAST = 256 * _MIB, 32 * _MIB  # bytes copied over: above the caches of all but the largest processors
_MOST_THREADS = 8
DEADLINE = 0.25  # seconds

# Bytes a second that makers publish for their GPUs' memory, by words of the driver's name for them, the longest that matches.
_PUBLISHED: Mapping[str, float] = MappingProxyType(
    {
        "H200": 4.8e12,
        "H100 NVL": 3.9e12,
        "H100 PCIe": 2.0e12,
        "H100": 3.35e12,
        "A100-SXM4-80GB": 2.04e12,
        "A100 80GB": 1.94e12,
        "A100": 1.56e12,
        "L40S": 864e9,
        "L40": 864e9,
        "L4": 300e9,
        "A40": 696e9,
        "RTX 6000 Ada": 960e9,
        "RTX A6000": 768e9,
        "RTX A5000": 768e9,
        "RTX A4000": 448e9,
        "GB10": 273e9,
        "A10G": 600e9,
        "A10": 600e9,
        "T4": 320e9,
        "V100": 900e9,
        "RTX 5090": 1792e9,
        "RTX 5080": 960e9,
        "RTX 5070 Ti": 896e9,
        "RTX 5070": 672e9,
        "RTX 5060 Ti": 448e9,
        "RTX 5060": 448e9,
        "RTX 4090": 1008e9,
        "RTX 4080": 717e9,
        "RTX 4070 Ti SUPER": 672e9,
        "RTX 4070 Ti": 504e9,
        "RTX 4070": 504e9,
        "RTX 4060 Ti": 288e9,
        "RTX 4060": 272e9,
        "RTX 3090": 936e9,
        "RTX 3080": 760e9,
        "RTX 3070": 448e9,
        "RTX 3060": 360e9,
        "RTX 2080 Ti": 616e9,
        "RTX 2070": 448e9,
        "RTX 2060": 336e9,
        "GTX 1080": 320e9,
        "RX 7900 XTX": 960e9,
        "RX 7900 XT": 800e9,
        "RX 7800 XT": 624e9,
        "RX 6800": 512e9,
        "MI300X": 5.3e12,
        "Arc A770": 560e9,
        "Arc B580": 456e9,
        "M1": 68e9,
        "M1 Pro": 200e9,
        "M1 Max": 400e9,
        "M1 Ultra": 800e9,
        "M2": 100e9,
        "M2 Pro": 200e9,
        "M2 Max": 400e9,
        "M2 Ultra": 800e9,
        "M3": 100e9,
        "M3 Pro": 150e9,
        "M3 Max": 300e9,
        "M3 Ultra": 819e9,
        "M4": 120e9,
        "M4 Pro": 273e9,
        "M4 Max": 410e9,
    }
)


def of_gpu(name: str) -> float | None:
    """Bytes a second of a GPU's memory as its maker publishes it; None for one that is not in the table. A slice of a divided
    GPU ("… MIG 2g.20gb") has its share: so many of seven."""
    plain = re.sub(r"\((?:R|tm)\)", "", name, flags=re.IGNORECASE)
    words = [known for known in _PUBLISHED if re.search(rf"(?<!\w){re.escape(known)}(?!\w)", plain, re.IGNORECASE)]
    if not words:
        return None
    part = re.search(r"MIG (\d)g\.", name)
    return _PUBLISHED[max(words, key=len)] * (int(part[1]) / 7 if part else 1)


def measure(memory: Memory, cores: int, deadline: float = DEADLINE) -> float:
    """Bytes a second that memory is read and written at when blocks larger than the caches are copied by several threads.

    Takes `deadline` seconds, a moment more to get at most a sixteenth of what is available. Each thread's quickest copy counts,
    so that other programs disturb little; where they use memory all the time, the figure is what they leave.
    """
    threads = max(1, min(cores, _MOST_THREADS))
    size = max(_LEAST, min(_MOST, memory.available // 16)) // (2 * threads) // _MIB * _MIB
    quickest: list[float] = []
    start = threading.Barrier(threads)
    workers = [threading.Thread(target=_copy, args=(size, deadline, start, quickest), daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(2 * size / seconds for seconds in quickest)


def _copy(size: int, deadline: float, start: threading.Barrier, quickest: list[float]) -> None:
    """Copies one block to another until the time is over; ctypes lets other threads run meanwhile."""
    source, target = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    ctypes.memset(source, 1, size)
    ctypes.memset(target, 2, size)  # both are touched, so that no page is made while the clock runs
    start.wait()
    end = time.perf_counter() + deadline
    best = float("inf")
    while best == float("inf") or time.perf_counter() < end:
        began = time.perf_counter()
        ctypes.memmove(target, source, size)
        best = min(best, time.perf_counter() - began)
    quickest.append(best)
