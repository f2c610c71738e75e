"""`freehold engine install diffusers`: an environment of its own, tested before it is used, and gone without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from freehold.builder import environment, torch
from freehold.builder.make import Place
from freehold.builder.progress import OnStep
from freehold.errors import BuildFailed, NotInstalled, StoreError
from freehold.fleet import builds, environments, shelf
from freehold.fleet.environments import Environment
from freehold.hardware.cpu import Cpu
from freehold.hardware.gpu import Gpu
from freehold.hardware.memory import Memory
from freehold.hardware.namespaces import Namespaces
from freehold.hardware.probe import Machine
from tests.builder.parts import Registry, processes
from tests.cli.parts import assert_one_line
from tests.conftest import until
from tests.images.parts import TINY, drawing
from tests.store.parts import web_server


def machine(*gpus: Gpu, system: str = "Linux") -> Machine:
    return Machine(system, "x86_64", Cpu("a", 1, 1, 1, ()), Memory(0, 0), gpus, None, Namespaces(True, None, None))


@pytest.mark.parametrize(
    ("gpus", "chosen"),
    [
        ((), ("cpu", "cpu")),
        ((Gpu("g", 0, "NVIDIA 581.15", compute="8.9"),), ("pypi", "cuda")),
        ((Gpu("g", 0, "NVIDIA 550.90", compute="8.9"),), ("cu126", "cuda")),
        ((Gpu("g", 0, "NVIDIA 581.15", compute="6.1"),), ("cu126", "cuda")),
        ((Gpu("g", 0, "amdgpu", "rocm"),), ("rocm7.2", "rocm")),
        ((Gpu("g", 0, "mesa", "vulkan"),), ("cpu", "cpu")),
    ],
)
def test_the_build_of_torch_goes_by_the_gpu_and_its_driver(gpus: tuple[Gpu, ...], chosen: tuple[str, str]) -> None:
    found = torch.choose(machine(*gpus))
    assert (found.folder, found.device) == chosen


def test_a_mac_takes_the_package_index_s_own_torch() -> None:
    found = torch.choose(machine(Gpu("M3", 0, "", "metal"), system="Darwin"))
    assert (found.folder, found.device) == ("pypi", "metal")


def test_who_asks_for_a_build_of_torch_gets_it() -> None:
    card = Gpu("g", 0, "NVIDIA 581.15")
    assert torch.choose(machine(card), "cpu").device == "cpu"
    assert torch.choose(machine(card), "pypi").device == "cuda"
    assert torch.choose(machine(), "pypi").device == "cpu"
    assert torch.choose(machine(), "cu126").device == "cuda"
    with pytest.raises(StoreError, match="no build of torch"):
        torch.choose(machine(), "../../etc")


def test_everything_in_the_environment_is_pinned_by_digest() -> None:
    for name in ("diffusers.lock", "torch.lock"):
        text = (environments.LOCKS / name).read_text()
        pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert pins
        assert all("==" in line and line.endswith("\\") for line in pins)
    assert not any(line.startswith("torch==") for line in (environments.LOCKS / "diffusers.lock").read_text().splitlines())
    assert f"torch=={environments.TORCH} \\" in (environments.LOCKS / "torch.lock").read_text()


def test_the_engine_is_listed_with_its_size_and_torch(engine: Environment, registry: Registry, home: Path) -> None:
    place(engine, home)
    table = registry.freehold(home, "engine", "list")
    line = next(line for line in table.out.splitlines() if line.startswith("diffusers "))
    assert f"torch {engine.torch}" in line
    assert "GB" in line
    listed = json.loads(registry.freehold(home, "engine", "list", "--json").out)
    assert listed["chosen"] == "prebuilt"
    (found,) = listed["environments"]
    assert (found["name"], found["current"]) == ("diffusers", True)
    assert engine.size > 5e8


def test_an_engine_that_runs_a_model_is_not_removed(engine: Environment, registry: Registry, home: Path, tiny: Path) -> None:
    with drawing(engine, tiny, TINY):
        place(engine, home)
        assert_one_line(registry.freehold(home, "engine", "remove", "diffusers"), 1, "runs a model now")
    assert environments.installed(shelf.folder(home / "data"))


def test_an_engine_is_removed(engine: Environment, registry: Registry, home: Path) -> None:
    root = shelf.folder(home / "data")
    copied = root / ".staged" / "abc"
    copied.mkdir(parents=True)
    (copied / "venv" / "bin").mkdir(parents=True)
    (copied / "venv" / "bin" / "python").symlink_to(sys.executable)
    environments.commit(root, replace(engine, folder=copied))
    done = registry.freehold(home, "engine", "remove", "diffusers")
    assert (done.code, done.out) == (0, "removed diffusers\n")
    assert not (root / "diffusers").exists()
    with pytest.raises(NotInstalled, match="freehold engine install diffusers"):
        environments.get(root, "diffusers")
    assert_one_line(registry.freehold(home, "engine", "remove", "diffusers"), 1, "is not installed")


def test_an_engine_whose_python_is_gone_says_so(engine: Environment, home: Path) -> None:
    root = shelf.folder(home / "data")
    copied = root / ".staged" / "abc"
    copied.mkdir(parents=True)
    with pytest.raises(StoreError, match="a Python that is gone"):
        environments.commit(root, replace(engine, folder=copied))


def test_without_a_registry_nothing_is_installed_and_the_old_one_stays(
    engine: Environment, registry: Registry, home: Path
) -> None:
    place(engine, home)
    before = environments.get(shelf.folder(home / "data"), "diffusers")
    env = {"FREEHOLD_ENGINE_TORCH_INDEX": registry.url}
    failed = registry.freehold(home, "engine", "install", "diffusers", env=env)
    assert_one_line(failed, 1, f"torch {environments.TORCH} cannot be downloaded")
    assert environments.get(shelf.folder(home / "data"), "diffusers") == before


def test_an_interrupted_installation_leaves_nothing_that_counts(registry: Registry, home: Path) -> None:
    """The registry's page never ends: pip waits for it, and is ended with the command."""
    open_ = threading.Event()

    def stall(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        open_.wait(60)
        return 404, {}, b""

    with web_server(registry.root) as web:
        web.routes["/simple/torch"] = stall
        env = {"FREEHOLD_ENGINE_TORCH_INDEX": web.url, "PIP_INDEX_URL": f"{web.url}/simple"}
        process = subprocess.Popen(
            [*registry.program(), "engine", "install", "diffusers"],
            env=registry.environment(home, env),
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        work = home / "data" / "engines" / ".work" / "diffusers"
        until(lambda: any(path.startswith("/simple/torch") for path, _ in web.requests))
        assert_one_line(registry.freehold(home, "engine", "install", "diffusers"), 1, "is being made by another process")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        until(lambda: not list(processes(str(work))))
        open_.set()
    assert environments.installed(shelf.folder(home / "data")) == []
    done = registry.freehold(home, "engine", "remove", "diffusers")
    assert done.code == 0
    assert not work.exists()


def test_an_environment_is_kept_over_an_interrupted_trial_and_not_over_a_failed_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gigabytes are not fetched again because of Ctrl-C; what does not draw is made anew."""
    place, kept, root = Place(home / "data", machine()), [], shelf.folder(home / "data")

    def fill(name: str, chosen: torch.Choice, index: str, made: Path, report: OnStep) -> str:
        kept.append(made.exists())
        packages = made / "venv" / "lib" / "python3" / "site-packages"
        for package in ("torch-2.0", "diffusers-1.0"):
            (packages / f"{package}.dist-info").mkdir(parents=True, exist_ok=True)
        (made / "venv" / "bin").mkdir(exist_ok=True)
        if not (made / "venv" / "bin" / "python").exists():
            (made / "venv" / "bin" / "python").symlink_to(sys.executable)
        return "somewhere"

    def install(trial: BaseException | str) -> Environment:
        def draw(environment: Environment, sandbox: str) -> str:
            assert environment.python.exists()
            if isinstance(trial, str):
                return trial
            raise trial

        monkeypatch.setattr(environment, "draw", draw)
        return environment.install(place, "diffusers", "index", "cpu", lambda step: None)

    monkeypatch.setattr(environment, "_packages", fill)
    with pytest.raises(KeyboardInterrupt):
        install(KeyboardInterrupt())
    with pytest.raises(BuildFailed):
        install(BuildFailed("it does not draw"))
    assert environments.installed(root) == []
    made = install("drew")
    assert kept == [False, True, False]
    assert (made.tested, made.version, made.torch) == ("drew", "diffusers 1.0", "2.0")
    assert made.python.exists()
    assert not (root / ".work" / "diffusers").exists()


def test_what_is_no_manifest_is_no_engine(home: Path) -> None:
    root = shelf.folder(home / "data")
    (root / "diffusers" / "abc").mkdir(parents=True)
    for text in ("", "[]", '{"folder": "../../abc"}', '{"folder": "abc"}', '{"folder": "abc", "device": "abacus"}'):
        (root / "diffusers" / "manifest.json").write_text(text)
        assert environments.installed(root) == []
    assert [build.name for build in builds.installed(root)] == ["prebuilt"]


def place(engine: Environment, home: Path) -> None:
    """The real engine's files, under another data folder."""
    root = shelf.folder(home / "data")
    root.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(root / "diffusers", ignore_errors=True)
    (root / "diffusers").mkdir()
    (root / "diffusers" / engine.folder.name).symlink_to(engine.folder)
    table = {key: value for key, value in asdict(engine).items() if key not in {"name", "folder"}}
    (root / "diffusers" / "manifest.json").write_text(json.dumps({"folder": engine.folder.name, **table}))
    assert os.access(environments.get(root, "diffusers").python, os.X_OK)
