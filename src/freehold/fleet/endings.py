"""How a worker's process came to its end: what an exit status and the engine's last lines mean."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["exited", "killed", "out_of_memory", "memory_limit", "hang", "not_ready", "damaged", "cannot_start"]

# What llama.cpp, ggml's backends, the C++ runtime and Python say when memory cannot be had (ggml-backend.cpp, ggml-cuda.cu,
# ggml-vulkan.cpp, llama-model.cpp, llama-kv-cache.cpp).
_NO_MEMORY = re.compile(
    r"failed to allocate|unable to allocate|cannot allocate memory|out of (?:device )?memory|bad_alloc|OutOfDeviceMemory"
    r"|OutOfHostMemory|insufficient memory|MemoryError|alloc_tensor_range: failed",
    re.IGNORECASE,
)
_STAMP = re.compile(r"^[\d.]+ [A-Z] +(?:\w+ +)?[\w:]+: ")  # llama.cpp's time, level, component and function
_SOURCE = re.compile(r"\S*/(?=[\w.-]+:\d+: )")  # the folder of a source file on the machine that built the engine
# What the engine says after the line that says why: which function gave up next, and that there is no debugger.
_CONSEQUENCE = re.compile(
    r"failed to load model|exiting due to|the engine did not start|failed to create context|failed to initialize the context"
    r"|^ptrace: |--no-jinja|^No stack|^The program is not being run|^\[New LWP|^warning: "
)
_ON_GPU = re.compile(r"\b(?:cuda|hip|rocm|vulkan|metal|sycl|device)\w*", re.IGNORECASE)


@dataclass(frozen=True)
class Ending:
    """`reason` is a clause that goes on after "The model … does not start: ". `on_gpu` tells whose memory was short.

    `lasting`: to start the same thing again would change nothing.
    """

    kind: Kind
    reason: str
    on_gpu: bool = False
    lasting: bool = False


class Ended(Exception):
    """A worker's life came to that end."""

    def __init__(self, ending: Ending):
        super().__init__(ending.reason)
        self.ending = ending


def telling(log: Iterable[str]) -> list[str]:
    """The lines of an engine's log that say why it ended, each once, without their stamps."""
    plain = [
        (" ".join(_SOURCE.sub("", _STAMP.sub("", line)).split()), " E " in line or "error" in line.lower()) for line in log
    ]
    errors = [text for text, is_error in plain if is_error or "ASSERT" in text]
    causes = [text for text in errors if not _CONSEQUENCE.search(text)]
    return list(dict.fromkeys(causes or errors or [text for text, _ in plain]))


def of_exit(code: int, log: Iterable[str], words: str, oom_kills: int = 0) -> Ending:
    """The ending of a process that exited with `code` (negative: the signal that killed it).

    `log` are its last lines, `words` the telling ones of them for people, and `oom_kills` how many processes the system has
    killed for want of memory while it ran: a SIGKILL that nobody here sent is then likely one of them.
    """
    how, kind = _told(code)
    if code == -signal.SIGKILL and oom_kills > 0:
        return Ending("out_of_memory", f"{how}, most likely by the system because memory ran out. {words}".strip())
    short = next((line for line in log if _NO_MEMORY.search(line)), None)
    if short is not None:
        return Ending("out_of_memory", f"memory ran out: {how}. {words}".strip(), on_gpu=bool(_ON_GPU.search(short)))
    return Ending(kind, f"{how}. {words}".strip())


def _told(code: int) -> tuple[str, Kind]:
    if code >= 0:
        return f"it exited with status {code}", "exited"
    try:
        return f"it was killed by {signal.Signals(-code).name}", "killed"
    except ValueError:
        return f"it was killed by signal {-code}", "killed"
