"""What a compilation needs: a compiler of the system, cmake and ninja of the system or from the package index, and for a GPU
its toolkit. What is missing is said together with how this system installs it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold.builder.progress import OnStep, bytes_of
from freehold.errors import StoreError
from freehold.fleet.builds import Backend
from freehold.hardware.commands import run as run_program
from freehold.store import disk, pip

LOCK = Path(__file__).parent / "locks" / "tools.lock"  # cmake and ninja, with their digests: `make lock`
_TOOLS_BYTES = 115_000_000  # of the two, downloaded and installed
_OLDEST = {"cmake": (3, 18), "ninja": (1, 10)}
# By the ID or ID_LIKE of /etc/os-release: how to install a C++ compiler, and how glslc (Vulkan's shader compiler) with headers.
_INSTALL = {
    "debian": ("sudo apt-get install g++", "sudo apt-get install glslc libvulkan-dev"),
    "ubuntu": ("sudo apt-get install g++", "sudo apt-get install glslc libvulkan-dev"),
    "fedora": ("sudo dnf install gcc-c++", "sudo dnf install glslc vulkan-loader-devel"),
    "rhel": ("sudo dnf install gcc-c++", "sudo dnf install glslc vulkan-loader-devel"),
    "suse": ("sudo zypper install gcc-c++", "sudo zypper install shaderc vulkan-devel"),
    "arch": ("sudo pacman -S gcc", "sudo pacman -S shaderc vulkan-headers vulkan-icd-loader"),
    "alpine": ("sudo apk add g++ linux-headers", "sudo apk add shaderc vulkan-loader-dev"),
    "darwin": ("xcode-select --install", "install the Vulkan SDK"),
}
_CUDA_HOME = Path("/usr/local/cuda")


@dataclass(frozen=True)
class Toolchain:
    """Programs of a compilation, and what to say of them. `toolkit` is the GPU's compiler."""

    cmake: str
    ninja: str
    c: str
    cxx: str
    described: str
    toolkit: str | None = None


@dataclass(frozen=True)
class Compilers:
    """The system's compilers: those of CC and CXX, else the usual names. `described` is the C++ compiler's own first line."""

    c: str
    cxx: str
    described: str
    toolkit: str | None = None


def compilers(backend: Backend, env: Mapping[str, str] = os.environ) -> Compilers:
    """Raises StoreError saying what to install."""
    c = _first(env.get("CC"), "cc", "gcc", "clang", env=env)
    cxx = _first(env.get("CXX"), "c++", "g++", "clang++", env=env)
    compiler, shaders = _install_lines()
    if c is None or cxx is None:
        raise StoreError("No C++ compiler was found, and a native build is compiled here.", f"Install one: {compiler}")
    ran = run_program((cxx, "--version"))
    if ran.code:
        raise StoreError(f"The C++ compiler {cxx} does not run: {ran.err.strip()[:200]}.", f"Install one: {compiler}")
    described = ran.out.strip().partition("\n")[0][:80]
    match backend:
        case "cuda":
            home = Path(env.get("CUDA_HOME") or env.get("CUDA_PATH") or _CUDA_HOME)
            toolkit = _first(env.get("CUDACXX"), "nvcc", str(home / "bin" / "nvcc"), env=env)
            remedy = "Install NVIDIA's CUDA toolkit, or the wheel that needs none: freehold engine install cuda"
            _require(toolkit, "NVIDIA's compiler nvcc was not found.", remedy)
        case "vulkan":
            toolkit = _first("glslc", env=env)
            _require(toolkit, "Vulkan's shader compiler glslc was not found.", f"Install it: {shaders}")
        case _:
            toolkit = None
    return Compilers(c, cxx, described, toolkit)


def toolchain(found: Compilers, work: Path, report: OnStep) -> Toolchain:
    """Adds cmake and ninja, from the package index into `work` where the system has no good ones. Raises as pip.run does."""
    cmake, ninja = _good("cmake"), _good("ninja")
    if cmake is None or ninja is None:
        tools = _from_index(work, report)
        cmake, ninja = cmake or str(tools / "cmake/data/bin/cmake"), ninja or str(tools / "bin/ninja")
    return Toolchain(cmake, ninja, found.c, found.cxx, found.described, found.toolkit)


def _from_index(work: Path, report: OnStep) -> Path:
    """The folder that the pinned cmake and ninja were installed to, from an earlier try where they are whole."""
    folder, target = work / "tools.part", work / "tools"
    if target.is_dir():
        return target
    with disk.translated():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pip.run(
            (
                "install",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
                "-r",
                str(LOCK),
                "--target",
                str(folder / "out"),
            ),
            folder,
            "The compilation's tools (cmake and ninja)",
            lambda: report(bytes_of("installing cmake and ninja", disk.tree_bytes(folder), _TOOLS_BYTES)),
        )
        (folder / "out").rename(target)
        shutil.rmtree(folder, ignore_errors=True)
    return target


def _good(name: str) -> str | None:
    """The system's own, where it is not too old."""
    path = shutil.which(name)
    found = re.search(r"(\d+)\.(\d+)", run_program((path, "--version")).out) if path else None
    return path if found and (int(found[1]), int(found[2])) >= _OLDEST[name] else None


def _first(*names: str | None, env: Mapping[str, str]) -> str | None:
    return next((path for name in names if name and (path := shutil.which(name, path=env.get("PATH")))), None)


def _require(found: str | None, message: str, remedy: str) -> None:
    if found is None:
        raise StoreError(message, remedy)


def _install_lines() -> tuple[str, str]:
    """How this system installs a compiler, and Vulkan's tools."""
    if sys.platform == "darwin":
        return _INSTALL["darwin"]
    try:
        release = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        release = ""
    names = re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', release, re.MULTILINE)
    known = (name for name in " ".join(names).split() if name in _INSTALL)
    return (
        _INSTALL[next(known, "")]
        if any(name in _INSTALL for name in " ".join(names).split())
        else (
            "gcc and g++, or clang",
            "glslc and the Vulkan headers",
        )
    )
