"""`freehold engine install`: a wheel for a GPU, from an index of its own, that really serves."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from freehold.builder import wheels
from freehold.errors import NotInstalled
from freehold.fleet import builds
from freehold.hardware.cpu import Cpu
from freehold.hardware.gpu import Gpu
from freehold.hardware.memory import Memory
from freehold.hardware.namespaces import Namespaces
from freehold.hardware.probe import Machine
from tests.builder.parts import Registry, names
from tests.cli.parts import assert_one_line

# A package of the engine's name, in a folder of its own, that has the real engine in it, and says that it sees this device.
_MODULE = """
import sys
from pathlib import Path
__path__ += [str(p) for entry in sys.path if (p := Path(entry) / "xllamacpp").is_dir() and str(p) != __path__[0]]
from xllamacpp.xllamacpp import *
def get_device_info():
    return [{{"name": "CPU"}}, {{"name": {device!r}}}]
"""


def publish(registry: Registry, folder: str, device: str, version: str | None = None) -> None:
    """A wheel in one folder of the index; the names of its page are those of a static site without digests."""
    version = version or builds.wheel_version()
    wheel = registry.root / f"xllamacpp-{version}-py3-none-any.whl"
    info = f"xllamacpp-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("xllamacpp/__init__.py", _MODULE.format(device=device))
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: xllamacpp\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    page = registry.root / folder / "xllamacpp" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f'<a href="/{wheel.name}">{wheel.name}</a>')


def test_a_wheel_is_installed_beside_tested_and_chosen(registry: Registry, home: Path) -> None:
    publish(registry, "cu128", "CUDA0")
    env = {"FREEHOLD_ENGINE_INDEX": registry.url}
    made = registry.freehold(home, "engine", "install", "cuda", env=env, gpus=("cuda",))
    assert made.code == 0, made
    assert "cuda is installed (a tiny model: 16 of 16 tokens as the prebuilt build)" in made.out
    table = json.loads(registry.freehold(home, "engine", "list", "--json", gpus=("cuda",)).out)
    assert (table["chosen"], table["reason"]) == ("cuda", "this machine has a GPU for cuda")
    build = builds.get(builds.folder(home / "data"), "cuda")
    assert build.site
    assert (build.site / "xllamacpp" / "__init__.py").is_file()
    assert "cu128" in build.made
    assert "sha256:" in build.made


def test_a_wheel_that_finds_no_gpu_is_refused(registry: Registry, home: Path) -> None:
    publish(registry, "vulkan", "CPU")
    env = {"FREEHOLD_ENGINE_INDEX": registry.url}
    failed = registry.freehold(home, "engine", "install", "vulkan", env=env, gpus=("vulkan",))
    assert_one_line(failed, 1, "finds no GPU for vulkan")
    assert names(home) == []


def test_only_the_named_index_and_the_same_version_will_do(registry: Registry, home: Path) -> None:
    publish(registry, "cu128", "CUDA0", version="1.0")
    publish(registry, "simple", "CUDA0")  # the user's own index has it
    env = {"FREEHOLD_ENGINE_INDEX": registry.url, "PIP_EXTRA_INDEX_URL": f"{registry.url}/simple"}
    failed = registry.freehold(home, "engine", "install", "cuda", env=env, gpus=("cuda",))
    assert_one_line(failed, 1, f"xllamacpp {builds.wheel_version()} for cuda cannot be downloaded")
    failed = registry.freehold(home, "engine", "install", "rocm", env=env, gpus=("cuda",))
    assert_one_line(failed, 1, "no GPU for rocm")
    assert names(home) == []
    with pytest.raises(NotInstalled):
        builds.get(builds.folder(home / "data"), "cuda")


@pytest.mark.parametrize(
    ("driver", "folder"), [("NVIDIA 581.15", "cu132"), ("NVIDIA 570.86.10", "cu128"), ("unknown", "cu128")]
)
def test_the_folder_of_the_index_goes_by_the_driver(driver: str, folder: str) -> None:
    machine = Machine(
        "Linux", "x86_64", Cpu("a", 1, 1, 1, ()), Memory(0, 0), (Gpu("g", 0, driver),), None, Namespaces(True, None, None)
    )
    assert wheels.variant("cuda", machine) == folder
    assert wheels.variant("vulkan", machine) == "vulkan"
