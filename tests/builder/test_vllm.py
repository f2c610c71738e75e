"""`freehold engine install vllm`, and models that it serves. There is no GPU here: what vLLM itself does is not shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from freehold.builder import vllm as builder
from freehold.builder.make import Place
from freehold.builder.progress import OnStep
from freehold.errors import BuildFailed, StoreError
from freehold.fleet import environments, shelf, vllm
from freehold.fleet.environments import Environment
from freehold.hardware.cpu import Cpu
from freehold.hardware.gpu import Gpu
from freehold.hardware.memory import Memory
from freehold.hardware.namespaces import Namespaces
from freehold.hardware.probe import Machine
from tests.cli.parts import assert_one_line, run
from tests.conftest import until
from tests.gateway.test_external import gateway

CARD = Gpu("H100", 80 * 2**30, "NVIDIA 581.15", compute="9.0")


def machine(*gpus: Gpu, system: str = "Linux", architecture: str = "x86_64") -> Machine:
    return Machine(system, architecture, Cpu("a", 1, 1, 1, ()), Memory(0, 0), gpus, None, Namespaces(True, None, None))


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (machine(), "this machine has none that can be used"),
        (machine(Gpu("Radeon", 0, "amdgpu", "rocm")), "It has Radeon"),
        (machine(Gpu("M3", 0, "", "metal"), system="Darwin", architecture="arm64"), "for Linux only"),
        (machine(Gpu("P100", 0, "NVIDIA 581.15", compute="6.0")), "compute capability 7.5"),
        (machine(Gpu("H100", 0, "NVIDIA 550.90", compute="9.0")), "driver 580"),
    ],
)
def test_a_machine_that_vllm_does_not_run_on_is_told_what_to_do_instead(found: Machine, word: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=word) as caught:
        builder.install(Place(tmp_path, found), lambda step: None)
    assert "docs/external.md" in str(caught.value)
    assert not (tmp_path / "engines").exists()
    builder.check(machine(CARD))
    builder.check(machine(Gpu("P100", 0, "NVIDIA 581.15", compute="6.0"), CARD))


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU")
def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    assert_one_line(run(tmp_path, "engine", "install", "vllm"), 1, "vLLM needs a GPU", "docs/external.md")
    assert_one_line(run(tmp_path, "engine", "install", "vllm", "--variant", "cu128"), 2, "vllm has no variants")


def test_everything_in_the_environment_is_pinned_by_digest() -> None:
    text = (environments.LOCKS / "vllm.lock").read_text()
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert any(line.startswith("vllm==") for line in pins)
    assert all("==" in line and line.endswith("\\") for line in pins)
    assert "vllm.lock" in environments.pin("vllm")


def test_it_is_told_to_fetch_nothing_and_to_load_no_pickle() -> None:
    serve = vllm.Serve(Path("/m/qwen"), "qwen", "chat", 8192, 16, ("--tensor-parallel-size", "2"))
    words = vllm.argv(Path("/e/venv/bin/python"), serve)
    start = ("/e/venv/bin/python", "-I", "-m", "vllm.entrypoints.cli.main", "serve", "/m/qwen", "--uds", "{socket}")
    assert words[: len(start)] == start
    for option, value in (("--served-model-name", "qwen"), ("--load-format", "safetensors"), ("--max-model-len", "8192")):
        assert words[words.index(option) + 1] == value
    assert words[-2:] == ("--tensor-parallel-size", "2")  # the user's come last, and so win
    assert "--trust-remote-code" not in words
    vectors = vllm.argv(Path("/p"), vllm.Serve(Path("/m"), "m", "embedding", 0, 4))
    assert "--max-model-len" not in vectors
    assert vectors[vectors.index("--runner") + 1] == "pooling"
    env = vllm.environment(Path("/e"), "cuda:1", "/usr/bin")
    assert (env["CUDA_VISIBLE_DEVICES"], env["HF_HUB_OFFLINE"], env["VLLM_NO_USAGE_STATS"]) == ("1", "1", "1")
    assert env["PATH"] == "/e/venv/bin:/usr/bin"
    assert "CUDA_VISIBLE_DEVICES" not in vllm.environment(Path("/e"), "host", "")


def test_an_environment_that_computes_is_put_into_place_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, root = Place(tmp_path, machine(CARD)), shelf.folder(tmp_path)

    def python(home: Path, wanted: int, report: OnStep) -> None:
        (home / "venv" / "bin").mkdir(parents=True)
        (home / "venv" / "bin" / "python").symlink_to(sys.executable)

    def fill(name: str, home: Path, size: int, report: OnStep) -> None:
        for package in ("torch-2.14.0", "vllm-0.33.0"):
            (home / "venv" / "lib" / "python3" / "site-packages" / f"{package}.dist-info").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(builder, "new_python", python)
    monkeypatch.setattr(builder, "filled", fill)
    with pytest.raises(BuildFailed, match="The engine vllm does not run: ModuleNotFoundError: No module named 'torch'"):
        builder.install(place, lambda step: None)  # the trial is real, and this Python has no torch
    assert environments.installed(root) == []
    monkeypatch.setattr(builder, "_computes", lambda made: "computed")
    made = builder.install(place, lambda step: None)
    assert (made.version, made.torch, made.device, made.tested) == ("vllm 0.33.0", "2.14.0", "cuda", "computed")
    assert made.current
    assert made.python.exists()
    environments.remove(root, "vllm")
    assert environments.installed(root) == []


STUB = """#!{python}
import json, os, sys
words = sys.argv[1:]
socket, name = words[words.index("--uds") + 1], words[words.index("--served-model-name") + 1]
assert words[:4] == ["-I", "-m", "vllm.entrypoints.cli.main", "serve"] and os.environ["HF_HUB_OFFLINE"] == "1", words
fake = ["-m", "freehold.workers.fake", "--socket", socket, "--options", json.dumps({{"alias": name}})]
os.execv({python!r}, [{python!r}, *fake])
"""


def test_a_model_is_served_by_its_program(tmp_path: Path) -> None:
    """The program of a stub: it checks what it is told, and becomes the fake engine on the socket that it was given."""
    model = tmp_path / "model"
    model.mkdir()
    models = {"qwen": {"engine": "vllm", "folder": str(model), "args": ["--enforce-eager"], "memory": "1 MiB"}}
    with gateway(tmp_path, models) as server:
        status, _, answer = server.chat("hello", model="qwen")
        assert status == 503
        assert "freehold engine install vllm" in answer["error"]["message"]
        staged = tmp_path / "data" / "engines" / ".staged" / "abc"
        (staged / "venv" / "bin").mkdir(parents=True)
        python = staged / "venv" / "bin" / "python"
        python.write_text(STUB.format(python=sys.executable))
        python.chmod(0o755)
        root = tmp_path / "data" / "engines"
        environments.commit(root, Environment("vllm", "vllm 0", "0", "cuda", environments.pin("vllm"), staged))
        assert "config.json" in until(lambda: said(server.post("/api/load", {"model": "qwen"})[2], "config.json"))
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(b"")
        assert server.post("/api/load", {"model": "qwen"})[0] == 200
        assert server.chat("one two", model="qwen")[2]["choices"][0]["message"]["content"] == "one two"
        worker = server.worker("qwen")
        assert (worker["engine"], worker["sandbox"]["network"], worker["plan"]["bytes"]) == ("vllm", "shared", {"host": 2**20})
        with pytest.raises(StoreError, match="runs a model now"):
            environments.remove(root, "vllm")
    environments.remove(root, "vllm")
    assert environments.installed(root) == []


def said(answer: object, word: str) -> str:
    text = json.dumps(answer)
    return text if word in text else ""
