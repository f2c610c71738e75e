"""`freehold engine build`, with a real cmake, ninja and compiler, on a stand-in for llama.cpp's sources."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from freehold.builder import smoke
from freehold.builder.compile import jobs
from freehold.builder.progress import Compiling
from freehold.errors import BuildFailed
from freehold.fleet import builds
from tests.builder.conftest import needs_tools
from tests.builder.parts import (
    ABORTS,
    DEAD,
    DOES_NOT_COMPILE,
    NO_METRICS,
    WRONG,
    Registry,
    compiled,
    names,
    processes,
    server_files,
    tar_file,
)
from tests.cli.parts import Result, assert_one_line, run
from tests.conftest import until


def left_behind(home: Path) -> list[str]:
    """What an unfinished build left, as paths."""
    work = home / "data" / "engines" / ".work"
    return sorted(str(path.relative_to(work)) for path in work.rglob("*")) if work.exists() else []


def program_of(home: Path) -> bytes:
    program = builds.get(builds.folder(home / "data"), "native").program
    assert program
    return program.read_bytes()


@needs_tools
def test_a_build_is_compiled_tested_listed_and_removed(registry: Registry, home: Path, tokens: list[int]) -> None:
    marker = home / "ran"
    program = f"open({str(marker)!r}, 'w')".encode()
    others = {f"tiny_engine-1.0/{name}": program for name in ("setup.py", "scikit_build_core/build.py", "conftest.py")}
    registry.publish(server_files(tokens), others)
    made = registry.freehold(home, "engine", "build")
    assert made.code == 0, made
    assert not marker.exists(), "the archive's own code was run"
    assert "native is installed (a tiny model: 16 of 16 tokens as the prebuilt build)" in made.out
    assert re.search(r"native: compiling, step \d+ of \d+", made.err)
    listed = registry.freehold(home, "engine", "list")
    assert "Models run on native (llama.cpp 0c1e570): it was compiled for this processor." in listed.out
    table = json.loads(registry.freehold(home, "engine", "list", "--json").out)
    (native,) = (build for build in table["builds"] if build["name"] == "native")
    assert native["pin"] == f"tiny-engine==1.0 sha256:{registry.sha256}"
    assert native["current"] is True
    assert native["size"] > 1000
    assert not left_behind(home)
    assert registry.freehold(home, "engine", "remove", "native").out == "removed native\n"
    assert names(home) == []


@needs_tools
def test_a_build_that_does_not_compile_leaves_the_old_one_and_shows_the_compilers_words(
    registry: Registry, home: Path, tokens: list[int]
) -> None:
    put_old_build(home)
    registry.publish(server_files(tokens, DOES_NOT_COMPILE))
    failed = registry.freehold(home, "engine", "build")
    assert_one_line(failed, 1, "the compiler failed", "this does not compile", "/log")
    assert re.search(r"^  .*#error", failed.err, re.MULTILINE), failed
    assert program_of(home) == b"the old one"
    assert registry.freehold(home, "engine", "remove", "native").code == 0
    assert not left_behind(home)


@needs_tools
def test_a_build_that_fails_its_smoke_test_leaves_the_old_one(registry: Registry, home: Path, tokens: list[int]) -> None:
    put_old_build(home)
    registry.publish(server_files(tokens, DEAD))
    failed = registry.freehold(home, "engine", "build")
    assert_one_line(failed, 1, "does not serve a model", "status 3")
    assert "  error: this engine is broken" in failed.err
    assert program_of(home) == b"the old one"


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (0, ""),
        (DEAD, "does not serve a model"),
        (WRONG, "answers otherwise"),
        (NO_METRICS, "no metrics"),
        (ABORTS, "not answer"),
    ],
)
def test_only_a_build_that_answers_as_the_prebuilt_one_passes(
    tmp_path: Path, tokens: list[int], fault: int, words: str
) -> None:
    build = builds.Build("native", "native", "cpu", "v", "p", folder=compiled(tmp_path / "b", tokens, fault))
    if not words:
        assert smoke.prove(build, smoke.Model(), "auto") == "a tiny model: 16 of 16 tokens as the prebuilt build"
        return
    with pytest.raises(BuildFailed, match=words):
        smoke.prove(build, smoke.Model(), "auto")


def put_old_build(home: Path) -> None:
    root = builds.folder(home / "data")
    (root / ".work" / "old" / "bin").mkdir(parents=True)
    (root / ".work" / "old" / "bin" / "llama-server").write_bytes(b"the old one")
    builds.commit(root, builds.Build("native", "native", "cpu", "v0", "older"), root / ".work" / "old")
    shutil.rmtree(root / ".work")


@needs_tools
def test_ctrl_c_leaves_nothing_visible_and_a_later_build_goes_on(registry: Registry, home: Path, tokens: list[int]) -> None:
    registry.publish(server_files(tokens))
    trace = home / "trace"
    env = {"TINY_TRACE": str(trace)}
    with subprocess.Popen(
        [*registry.program(), "engine", "build"],
        env=registry.environment(home, env),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        until(lambda: any(processes(f"{trace}.open")), 60)
        other = registry.freehold(home, "engine", "build", env=env)
        assert_one_line(other, 1, "is being made by another process")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    until(lambda: not any(processes(f"{trace}.open")))
    assert names(home) == []
    Path(f"{trace}.open").touch()
    (registry.root / "tiny_engine-1.0.tar.gz").unlink()  # what was downloaded is not downloaded again
    made = registry.freehold(home, "engine", "build", env=env)
    assert made.code == 0, made
    assert trace.read_text() == "x\n"  # what was compiled is not compiled again
    assert names(home) == ["native"]


@needs_tools
def test_an_archive_with_another_digest_is_not_unpacked(registry: Registry, home: Path, tokens: list[int]) -> None:
    registry.publish(server_files(tokens))
    pinned = registry.sha256
    registry.publish(server_files(tokens), {"tiny_engine-1.0/extra": b"x"})
    registry.sha256 = pinned
    failed = registry.freehold(home, "engine", "build")
    assert_one_line(failed, 1, "is not the one that was pinned", "tiny-engine==1.0")
    assert not [path for path in left_behind(home) if "source" in path or path.endswith(".gz")]


@needs_tools
def test_a_hostile_archive_writes_nothing_outside(registry: Registry, home: Path, tokens: list[int]) -> None:
    link = tar_file("tiny_engine-1.0/vendor/llama.cpp/link", type=tarfile.SYMTYPE, linkname="CMakeLists.txt")
    registry.publish(server_files(tokens), more=[link])
    assert_one_line(registry.freehold(home, "engine", "build"), 1, "neither a file nor a folder")
    assert names(home) == []


@needs_tools
def test_a_disk_that_is_or_runs_full_is_said(registry: Registry, home: Path, tokens: list[int]) -> None:
    registry.publish(server_files(tokens) | {"large": bytes(3_000_000)})
    assert_one_line(registry.freehold(home, "engine", "build", free=10**6), 1, "This needs 800 MB of disk, and 1 MB are free.")
    assert_one_line(registry.freehold(home, "engine", "build", largest_file=10**6), 1, "disk filled up")
    assert names(home) == []
    made = registry.freehold(home, "engine", "build")
    assert made.code == 0, made


def test_a_registry_that_does_not_answer_or_lacks_the_sources_is_said(registry: Registry, home: Path) -> None:
    registry.page("tiny-engine")
    registry.sha256 = "0" * 64
    assert_one_line(registry.freehold(home, "engine", "build"), 1, "tiny-engine==1.0", "cannot be downloaded")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    assert_one_line(registry.freehold(home, "engine", "build", env=nowhere), 1, "refused", "pip config list")


def test_a_missing_compiler_is_named_with_its_remedy(registry: Registry, home: Path) -> None:
    failed = registry.freehold(home, "engine", "build", env={"PATH": "/nowhere", "CC": "", "CXX": ""})
    assert_one_line(failed, 1, "No C++ compiler was found", "Install one:")
    broken = home / "bin"
    broken.mkdir()
    for name in ("cc", "c++"):
        (broken / name).write_text("#!/bin/sh\necho no licence >&2; exit 1\n")
        (broken / name).chmod(0o755)
    failed = registry.freehold(home, "engine", "build", env={"PATH": str(broken), "CC": "", "CXX": ""})
    assert_one_line(failed, 1, "does not run", "no licence")


def test_a_gpu_build_needs_its_gpu_and_its_toolkit(registry: Registry, home: Path) -> None:
    assert_one_line(registry.freehold(home, "engine", "build", "vulkan", gpus=("cuda",)), 1, "no GPU for vulkan")
    without = {"PATH": "/usr/bin:/bin", "CUDA_HOME": "/nowhere", "CUDACXX": ""}
    failed = registry.freehold(home, "engine", "build", "cuda", gpus=("cuda",), env=without)
    assert_one_line(failed, 1, "nvcc was not found", "freehold engine install cuda")


@needs_tools
def test_a_cuda_build_is_configured_with_the_toolkit_and_must_find_its_gpu(
    registry: Registry, home: Path, tokens: list[int]
) -> None:
    registry.publish(server_files(tokens))
    nvcc = home / "nvcc"
    nvcc.write_text("#!/bin/sh\nexit 0\n")
    nvcc.chmod(0o755)
    made = registry.freehold(home, "engine", "build", "cuda", gpus=("cuda",), env={"CUDACXX": str(nvcc)})
    assert made.code == 0, made
    assert "Models run on native-cuda" in registry.freehold(home, "engine", "list", gpus=("cuda",)).out
    assert "native-cuda is for a GPU that this machine does not have" in registry.freehold(home, "engine", "list").out


def test_a_build_for_a_gpu_that_finds_none_is_refused(tmp_path: Path, tokens: list[int]) -> None:
    build = builds.Build("native-cuda", "native", "cuda", "v", "p", folder=compiled(tmp_path / "b", tokens))
    with pytest.raises(BuildFailed, match="finds no GPU for cuda") as failed:
        smoke.prove(build, smoke.Model(), "auto")
    assert "Available devices:" in failed.value.lines


@needs_tools
def test_cmake_and_ninja_come_from_the_index_where_the_system_has_none(
    registry: Registry, home: Path, tokens: list[int]
) -> None:
    registry.publish(server_files(tokens))
    system = home / "system"
    system.mkdir()
    for name in ("cc", "c++", "as", "ld", "ar", "ranlib", "sh", "touch", "gcc"):
        if (found := shutil.which(name)) is not None:
            (system / name).symlink_to(os.path.realpath(found) if name not in {"cc", "c++", "gcc"} else found)
    lock = home / "tools.lock"
    wheels = [
        tool_wheel(registry, "cmake", "4.0", "cmake/data/bin/cmake"),
        tool_wheel(registry, "ninja", "1.12", "ninja-1.12.data/scripts/ninja"),
    ]
    lock.write_text("".join(wheels))
    made = registry.freehold(home, "engine", "build", env={"PATH": str(system)}, lock=str(lock))
    assert made.code == 0, made
    assert "installing cmake and ninja" in made.err
    lock.write_text("".join(re.sub(r"sha256:\w{8}", "sha256:00000000", line) for line in wheels))
    shutil.rmtree(home / "data")
    failed = registry.freehold(home, "engine", "build", env={"PATH": str(system)}, lock=str(lock))
    assert_one_line(failed, 1, "cmake and ninja", "DO NOT MATCH THE HASHES")


def tool_wheel(registry: Registry, name: str, version: str, inner: str) -> str:
    """A wheel on the index whose program is the system's; returns its line of a lock file."""
    wheel = registry.root / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        program = zipfile.ZipInfo(inner)
        program.external_attr = 0o100755 << 16
        archive.writestr(program, f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n')
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    registry.page(name, wheel)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def test_mistakes_are_one_line(home: Path) -> None:
    env = {"FREEHOLD_DATA_DIR": str(home / "data")}

    def said(*arguments: str, **more: str) -> Result:
        return run(home, "engine", *arguments, env=env | more)

    removed = said("remove", "native", "../../etc", "prebuilt")
    assert removed.code == 1
    for words in ("'native' is not installed", "'../../etc' is not installed", "belongs to Freehold"):
        assert words in removed.err
    assert_one_line(said("build", "tpu"), 2, "tpu")
    assert_one_line(said("install", "cuda", "--variant", "../x"), 2, "folder of an index")
    assert_one_line(said("list", FREEHOLD_ENGINE_BUILD="native"), 1, "'native' is not installed")


def test_a_server_does_not_start_on_a_build_that_is_not_there(home: Path) -> None:
    env = {"FREEHOLD_DATA_DIR": str(home / "data"), "FREEHOLD_ENGINE_BUILD": "native", "FREEHOLD_PORT": "0"}
    assert_one_line(run(home, "up", env=env), 1, "'native' is not installed")


def test_compilers_at_a_time_follow_cores_and_memory() -> None:
    assert jobs("cpu", 8, 64 * 2**30) == 8
    assert jobs("cpu", 8, 4 * 2**30) == 2
    assert jobs("cuda", 16, 7 * 2**30) == 2
    assert jobs("cpu", 8, 10**6) == 1
    assert jobs("cpu", 3, 0) == 3


def test_a_compilation_says_how_long_it_still_takes() -> None:
    times = iter([0.0, 60.0, 60.0])
    progress = Compiling(lambda: next(times))
    assert progress.at(10, 100).describe() == "compiling, step 10 of 100"  # the first of a build that goes on
    assert progress.at(40, 100).describe() == "compiling, step 40 of 100, about 2 min left"
    assert progress.at(100, 100).describe() == "compiling, step 100 of 100"
