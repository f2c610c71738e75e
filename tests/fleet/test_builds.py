"""Which engine build runs a model, and what is believed of the folder that builds are in."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import NotInstalled, StoreError
from freehold.fleet import builds
from freehold.fleet.builds import Backend, Build, Kind
from freehold.fleet.engines import Deployment, launch
from freehold.hardware.plan import Knobs, Plan
from freehold.workers import native
from freehold.workers.config import GUESSES, LlamaConfig

HERE = ("AVX", "AVX2", "FMA", "F16C")


def put(root: Path, name: str, kind: Kind = "native", backend: Backend = "cpu", **fields: Any) -> Build:
    """A build as its maker leaves it."""
    staged = root / ".work" / fields.pop("inner", "0123abcd")
    (staged / "bin").mkdir(parents=True)
    (staged / "bin" / "llama-server").touch()
    given: dict[str, Any] = {"version": "v", "pin": builds.pin(kind), **fields}
    return builds.commit(root, Build(name, kind, backend, **given), staged)


def chosen(root: Path, wanted: str = "auto", gpus: Iterable[Backend] = (), sets: Iterable[str] = HERE) -> tuple[str, str]:
    choice = builds.choose(root, wanted, frozenset(gpus), tuple(sets))
    return choice.build.name, choice.reason


def test_the_prebuilt_build_is_always_there(tmp_path: Path) -> None:
    assert [build.name for build in builds.installed(tmp_path / "nothing")] == ["prebuilt"]
    assert builds.get(None, "prebuilt").folder is None
    assert chosen(tmp_path)[0] == "prebuilt"


def test_auto_prefers_a_gpu_then_the_processor_then_the_prebuilt(tmp_path: Path) -> None:
    put(tmp_path, "native", instruction_sets=("AVX2",))
    put(tmp_path, "vulkan", "wheel", "vulkan")
    assert chosen(tmp_path) == ("native", "it was compiled for this processor")
    assert chosen(tmp_path, gpus=["vulkan"])[0] == "vulkan"
    put(tmp_path, "cuda", "wheel", "cuda")
    assert chosen(tmp_path, gpus=["vulkan", "cuda"])[0] == "cuda"
    put(tmp_path, "native-cuda", "native", "cuda")
    assert chosen(tmp_path, gpus=["cuda"]) == ("native-cuda", "this machine has a GPU for cuda")


def test_auto_takes_no_build_that_is_old_or_for_another_machine_and_says_so(tmp_path: Path) -> None:
    put(tmp_path, "native", instruction_sets=("AVX2", "AVX-512"))
    assert chosen(tmp_path) == ("prebuilt", "native was made for another processor: this one has no AVX-512")
    put(tmp_path, "native", pin="llama-cpp-python==0.1", inner="4567")
    name, reason = chosen(tmp_path, sets=(*HERE, "AVX-512"))
    assert (name, "freehold engine build" in reason) == ("prebuilt", True)
    builds.remove(tmp_path, "native")
    put(tmp_path, "cuda", "wheel", "cuda")
    assert chosen(tmp_path) == ("prebuilt", "cuda is for a GPU that this machine does not have")
    builds.remove(tmp_path, "cuda")
    assert "freehold engine build" in chosen(tmp_path)[1]
    assert chosen(tmp_path, gpus=["cuda"])[1] == "no build for this machine's GPU is installed"


def test_a_build_can_be_asked_for_by_name(tmp_path: Path) -> None:
    put(tmp_path, "native", instruction_sets=("AVX2",))
    assert chosen(tmp_path, "prebuilt")[0] == "prebuilt"
    assert chosen(tmp_path, "native") == ("native", "the setting engine.build says native")
    with pytest.raises(NotInstalled, match="freehold engine list"):
        chosen(tmp_path, "cuda")
    with pytest.raises(StoreError, match="no AVX2"):
        chosen(tmp_path, "native", sets=())


def test_a_new_build_replaces_the_old_one_whole(tmp_path: Path) -> None:
    put(tmp_path, "native", inner="old", version="1")
    put(tmp_path, "native", inner="new", version="2")
    assert builds.get(tmp_path, "native").version == "2"
    assert sorted(path.name for path in (tmp_path / "native").iterdir()) == ["manifest.json", "new"]


def test_a_build_in_use_is_kept(tmp_path: Path) -> None:
    build = put(tmp_path, "native", inner="old")
    assert build.folder
    handle = os.open(build.folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    with pytest.raises(StoreError, match="runs a model now"):
        builds.remove(tmp_path, "native")
    put(tmp_path, "native", inner="new")
    assert build.folder.is_dir()
    os.close(handle)
    builds.remove(tmp_path, "native")
    assert not (tmp_path / "native").exists()


def test_what_is_not_there_or_belongs_to_freehold_is_not_removed(tmp_path: Path) -> None:
    for name in ("native", "../x", "", ".work"):
        with pytest.raises(NotInstalled):
            builds.remove(tmp_path, name)
    with pytest.raises(StoreError, match="belongs to Freehold"):
        builds.remove(tmp_path, "prebuilt")


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "../../bin"},
        {"folder": "/usr"},
        {"folder": 7},
        {"folder": "missing"},
        {"kind": "prebuilt"},
        {"kind": ["native"]},
        {"backend": "tpu"},
        {"size": "large"},
        {"instruction_sets": None},
        {"pin": None, "version": {"a": 1}, "size": []},
    ],
)
def test_a_manifest_that_makes_no_sense_is_no_build(tmp_path: Path, change: dict[str, Any]) -> None:
    put(tmp_path, "native")
    manifest = tmp_path / "native" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    assert [build.name for build in builds.installed(tmp_path)] == ["prebuilt"]
    with pytest.raises(NotInstalled):
        builds.get(tmp_path, "native")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "{}", "\udcff", "9" * 70_000])
def test_a_manifest_that_is_none_is_no_build(tmp_path: Path, text: str) -> None:
    put(tmp_path, "native")
    (tmp_path / "native" / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    assert [build.name for build in builds.installed(tmp_path)] == ["prebuilt"]


def test_a_deployment_names_its_build_and_the_launch_finds_it(tmp_path: Path) -> None:
    put(tmp_path, "native")
    plan = Plan(context=512, slots=2, knobs=Knobs(build="native"))
    deployment = Deployment("m", "chat", "llama.cpp", plan, "auto", weights=tmp_path / "m.gguf", builds=tmp_path)
    config = json.loads(launch(deployment, tmp_path / "s.sock").argv[-1])
    assert config["program"] == str(tmp_path / "native" / "0123abcd" / "bin" / "llama-server")
    assert config["site"] is None
    builds.remove(tmp_path, "native")
    with pytest.raises(NotInstalled, match="native"):
        launch(deployment, tmp_path / "s.sock")


def options(task: str = "chat", **plan: Any) -> dict[str, str]:
    """What llama-server is told for a plan, by option; "" for a flag."""
    table = {"context": 1024, "slots": 2, "kv_type": "q8_0", "gpu_layers": 0, "tensor_split": [], "host_expert_layers": 0}
    table |= {"checkpoints": 4, "splits": False}
    knobs = {"threads": 3, "threads_batch": 4, "batch": 256, "ubatch": 128, "poll": 10, "flash_attention": "on"}
    knobs |= {"speculative": plan.pop("speculative", "none")}
    config = LlamaConfig(
        name="m",
        socket="/run/m.sock",
        weights="/m.gguf",
        task=task,
        plan={**table, "prompt_cache_mib": 7, "knobs": knobs, **plan},
        draft="/d.gguf",
        projector="/p.gguf",
        chat_template="/t.jinja",
    )
    words = native.arguments(config, "m.sock")
    return {
        word: "" if index + 1 == len(words) or words[index + 1].startswith("--") else words[index + 1]
        for index, word in enumerate(words)
        if word.startswith("--")
    }


def test_llama_server_is_told_what_the_plan_says() -> None:
    given = options(gpu_layers=12, tensor_split=[3.0, 1.5], host_expert_layers=2, speculative="draft")
    assert given["--ctx-size"] == "2048"  # llama-server shares it out to the slots
    assert (given["--cache-type-k"], given["--cache-type-v"], given["--cache-ram"]) == ("q8_0", "q8_0", "7")
    assert (given["--threads"], given["--threads-batch"], given["--poll"], given["--poll-batch"]) == ("3", "4", "10", "10")
    assert (given["--batch-size"], given["--ubatch-size"], given["--flash-attn"]) == ("256", "128", "on")
    assert (given["--n-gpu-layers"], given["--tensor-split"], given["--n-cpu-moe"]) == ("13", "3,1.5", "2")
    assert (given["--spec-type"], given["--spec-draft-model"]) == ("draft-simple", "/d.gguf")
    assert (given["--mmproj"], given["--chat-template-file"], given["--host"]) == ("/p.gguf", "/t.jinja", "m.sock")
    assert "--embeddings" not in given


def test_a_text_to_embed_fits_one_physical_batch() -> None:
    given = options("embedding", speculative="ngram-mod")
    assert (given["--batch-size"], given["--ubatch-size"], given["--embeddings"]) == ("1024", "1024", "")
    assert (given["--spec-type"], "--spec-draft-model" in given) == ("ngram-mod", False)


def test_a_native_build_is_told_how_far_to_guess() -> None:
    for name, numbers in GUESSES.items():
        given = options(speculative=name)
        assert given["--spec-type"] == name
        for key, value in numbers.items():
            assert given[f"--spec-{name}-{key.replace('_', '-')}"] == str(value)
