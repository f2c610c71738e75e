"""Engine environments: Python packages that are too heavy for the default install, each set in a venv of its own.

They lie on the `shelf`, beside the builds of llama.cpp: a folder is a venv, and workers run under its Python. What makes them
is freehold.builder; this only reads them.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import freehold
from freehold.errors import NotInstalled, StoreError
from freehold.fleet import shelf

Name = Literal["diffusers", "vllm"]
Device = Literal["cpu", "cuda", "rocm", "metal"]

NAMES: tuple[Name, ...] = get_args(Name)
TORCH = "2.13.0"  # of which a build is chosen by the machine's hardware
LOCKS = Path(freehold.__file__).parent / "builder" / "locks"  # what else is in an environment, with digests: `make lock`
# Runs one of Freehold's own modules under an environment's Python, which has Freehold's package from it and nothing else.
START = Path(freehold.__file__).parent / "workers" / "start.py"


@dataclass(frozen=True)
class Environment:
    """`version` says which main package ("diffusers 0.42.1"), `torch` which build of PyTorch ("2.13.0+cpu"), `device` what that
    computes on; `pin` what it was made from, and is compared to tell an old one; `made` and `tested` are a line each for
    people; `size` is bytes, `created` Unix time. `folder` holds the venv."""

    name: Name
    version: str
    torch: str
    device: Device
    pin: str
    folder: Path
    made: str = ""
    tested: str = ""
    size: int = 0
    created: int = 0

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def current(self) -> bool:
        """Whether it was made from what this version of Freehold is made for."""
        return self.pin == pin(self.name)


def pin(name: Name) -> str:
    """What an environment of that name is made from now."""
    digest = hashlib.sha256((LOCKS / f"{name}.lock").read_bytes()).hexdigest()
    torch = f"torch=={TORCH}, " if name == "diffusers" else ""  # that of vLLM is in its lock
    return f"{torch}{name}.lock sha256:{digest[:16]}, Python {platform.python_version().rpartition('.')[0]}"


def installed(root: Path) -> list[Environment]:
    """All that can be read, by name."""
    found = (_read(root, name) for name in NAMES)
    return [environment for environment in found if environment is not None]


def get(root: Path | None, name: str) -> Environment:
    """The environment of that name. Raises NotInstalled; StoreError when the Python it was made with is gone."""
    environment = _read(root, name) if root is not None and name in NAMES else None
    if environment is None:
        raise NotInstalled(f"The engine {name[:40]} is not installed.", f"Install it: freehold engine install {name[:40]}")
    if not os.access(environment.python, os.X_OK):
        raise StoreError(
            f"The engine {name} was made with a Python that is gone.", f"Make it again: freehold engine install {name}"
        )
    return environment


def commit(root: Path, environment: Environment) -> Environment:
    """Moves a tested environment from where it was made into place. Raises StoreError, DiskFull."""
    table = {key: value for key, value in asdict(environment).items() if key not in {"name", "folder"}}
    shelf.put(root, environment.name, table, environment.folder)
    return get(root, environment.name)


def remove(root: Path, name: str) -> None:
    """Raises NotInstalled, and StoreError when a worker runs on it."""
    if _read(root, name) is None:
        get(root, name)
    shelf.take(root, name)


def argv(python: Path, module: str, *arguments: str) -> tuple[str, ...]:
    """What runs one of Freehold's modules under an environment's Python."""
    return (str(python), "-I", "-u", str(START), module, *arguments)


def _read(root: Path, name: str) -> Environment | None:
    found = shelf.read(root, name)
    try:
        return _parsed(name, found[1], found[0]) if found and name in NAMES else None
    except (ValueError, KeyError, TypeError):
        return None


def _parsed(name: str, table: Mapping[str, Any], folder: Path) -> Environment:
    """Raises KeyError, TypeError or ValueError for a table that is none."""
    if table["device"] not in get_args(Device):
        raise ValueError(name)
    texts = {key: str(table[key])[:500] for key in ("version", "torch", "device", "pin", "made", "tested")}
    numbers = {key: int(table[key]) for key in ("size", "created")}
    return Environment(name=name, folder=folder, **texts, **numbers)  # type: ignore[arg-type]
