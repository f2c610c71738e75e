"""Compiling llama-server from the sources, for this machine."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from freehold.builder.progress import Compiling, OnStep, Step
from freehold.builder.run import run
from freehold.builder.tools import Toolchain
from freehold.errors import BuildFailed
from freehold.fleet.builds import Backend

_JOB_BYTES = {"cuda": 3 * 2**30}  # memory that one compiler may take
_USUAL_JOB_BYTES = 3 * 2**29
_STATUS = re.compile(r"\[(\d+)/(\d+)\] ")
_TOLD = 12  # lines of a failed compiler that are shown
# One program without libraries beside it, so that it can be moved; no page, no TLS and no child processes, as a worker has a
# unix socket and nothing else.
_FLAGS = (
    *("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON", "-DLLAMA_ALL_WARNINGS=OFF"),
    *("-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_TESTS=OFF"),
    *("-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_SUBPROCESS=OFF"),
    "-DLLAMA_BUILD_NUMBER=0",
)
_BACKEND_FLAGS: dict[Backend, tuple[str, ...]] = {
    "cpu": ("-DGGML_METAL=OFF",),
    "cuda": ("-DGGML_CUDA=ON", "-DGGML_CUDA_NCCL=OFF"),
    "vulkan": ("-DGGML_VULKAN=ON", "-DGGML_METAL=OFF"),
    "metal": ("-DGGML_METAL=ON", "-DGGML_METAL_EMBED_LIBRARY=ON"),
}


def jobs(backend: Backend, cpus: int, memory: int) -> int:
    """Compilers at a time: one a processor, while they fit into the available memory (bytes; 0: not known)."""
    each = _JOB_BYTES.get(backend, _USUAL_JOB_BYTES)
    return max(1, min(cpus, memory // each if memory else cpus))


def flags(backend: Backend, commit: str, toolkit: str | None) -> tuple[str, ...]:
    """cmake's definitions for a build."""
    compiler = (f"-DCMAKE_CUDA_COMPILER={toolkit}",) if backend == "cuda" else ()
    return (*_FLAGS, f"-DLLAMA_BUILD_COMMIT={commit[:7]}", *_BACKEND_FLAGS[backend], *compiler)


def compile_server(work: Path, definitions: tuple[str, ...], tools: Toolchain, parallel: int, report: OnStep) -> Path:
    """Compiles work/source in work/build, going on where an earlier try ended; returns the program llama-server.

    Raises BuildFailed with the compiler's last lines; everything it said is in work/log.
    """
    log, build = work / "log", work / "build"
    log.write_bytes(b"")
    # GIT_DIR: llama.cpp asks git for its version, and would be told that of a repository this folder happens to lie in.
    env = {"CC": tools.c, "CXX": tools.cxx, "GIT_DIR": os.devnull, "NINJA_STATUS": "[%f/%t] "}
    report(Step("configuring", text="configuring"))
    configure = (tools.cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools.ninja}", "-S", "source", "-B", "build", *definitions)
    code, lines = run(configure, work, log, lambda line: None, env)
    if code:
        shutil.rmtree(build, ignore_errors=True)  # a half-made configuration would be believed next time
        raise _failed("cmake does not accept this system", lines, log)
    progress = Compiling()

    def each(line: str) -> None:
        if found := _STATUS.match(line):
            report(progress.at(int(found[1]), int(found[2])))

    code, lines = run((tools.ninja, "-C", "build", f"-j{parallel}", "llama-server"), work, log, each, env)
    if code:
        raise _failed("the compiler failed", lines, log)
    program = build / "bin" / "llama-server"
    if not program.is_file():
        raise _failed("no llama-server came out of it", lines, log)
    return program


def _failed(how: str, lines: list[str], log: Path) -> BuildFailed:
    told = [line for line in lines if line.strip() and not _STATUS.match(line)]
    telling = next((line.strip() for line in told if re.search(r"(?i)\b(fatal )?error\b", line)), "")
    ended = f"{how}: {telling[:300]}" if telling else how
    return BuildFailed(f"The engine was not built: {ended.rstrip('.')}.", f"All it said: {log}", tuple(told[-_TOLD:]))
