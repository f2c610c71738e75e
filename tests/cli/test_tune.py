"""`freehold tune` as a person runs it, on the real engine with a tiny budget."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.parts import NOWHERE, Result, assert_one_line, environment, run
from tests.conftest import FREEHOLD, fake_model, serving, until

CHAT, EMBEDDING = "smollm2:135m", "all-minilm:22m"


@pytest.fixture(scope="module")
def data(starters: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of its own with the starter models, which nobody has tuned."""
    folder = tmp_path_factory.mktemp("tune")
    shutil.copytree(starters / "models" / "manifests", folder / "models" / "manifests")
    (folder / "models" / "blobs").symlink_to(starters / "models" / "blobs")
    return folder


def tune(home: Path, data: Path, *arguments: str) -> Result:
    return run(home, "tune", *arguments, "--data-dir", data, env={"FREEHOLD_URL": NOWHERE})


def test_a_model_is_tuned_listed_and_forgotten(tmp_path: Path, data: Path) -> None:
    done = tune(tmp_path, data, CHAT, "--quick", "--seconds", "5", "--json")
    assert done.code == 0, done
    found: dict[str, Any] = json.loads(done.out)
    assert all(found["speed"][aspect] > 0 for aspect in ("prefill", "decode", "together", "busy_prefill", "busy"))
    assert found["candidates"][0]["memory"] > 50e6
    assert found["untuned"]["kv_type"] == found["chosen"]["kv_type"] == "f16"
    assert set(found["ratios"]) == set(found["untuned_speed"])
    assert "measuring: " in done.err

    listed = json.loads(tune(tmp_path, data, "--list", "--json").out)
    assert [(item["name"], item["in_use"], item["speed"]) for item in listed] == [(CHAT, True, found["speed"])]
    shown = run(tmp_path, "show", CHAT, "--data-dir", data).out
    assert re.search(r"^tuned +on \d{4}-\d\d-\d\d$", shown, re.MULTILINE), shown
    with serving(data, env={"FREEHOLD_DEFAULT_CHAT": CHAT}, ready=False) as server:
        worker = until(lambda: next((w for w in server.get("/api/ps")[2]["workers"] if w["model"] == CHAT), None))
        assert worker["plan"]["tuned"] == server.get(f"/v1/models/{CHAT}")[2]["tuned"]
        assert worker["plan"]["threads"] == found["chosen"]["knobs"]["threads"]
        assert "TUNED" in run(tmp_path, "ps", env={"FREEHOLD_URL": server.root}).out
    table = tune(tmp_path, data, "--list").out
    assert CHAT in table
    assert found["why"][:20] in table

    assert tune(tmp_path, data, CHAT, "--forget").out == f"{CHAT} runs with the defaults again.\n"
    assert tune(tmp_path, data, CHAT, "--forget").out == f"{CHAT} was not tuned.\n"
    assert "Nothing is tuned yet" in tune(tmp_path, data, "--list").out
    assert "tuned" not in run(tmp_path, "show", CHAT, "--data-dir", data).out


def test_the_table_shows_candidates_and_a_sentence(tmp_path: Path, data: Path) -> None:
    done = tune(tmp_path, data, EMBEDDING, "--quick", "--seconds", "2")
    assert done.code == 0, done
    assert "READS" in done.out
    assert "BUSY: READS" in done.out
    assert "Two equal measurements differed by about" in done.out
    assert any(line.startswith("chosen") for line in done.out.splitlines())
    assert done.out.splitlines()[-1].startswith(("Chosen: ", "The defaults are as good"))
    assert tune(tmp_path, data, EMBEDDING, "--forget").code == 0


def test_an_interrupted_search_keeps_nothing_and_leaves_nothing_running(tmp_path: Path, data: Path) -> None:
    log = tmp_path / "err"
    env = environment(tmp_path, {"FREEHOLD_URL": NOWHERE, "TMPDIR": str(tmp_path)})
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [FREEHOLD, "tune", EMBEDDING, "--full", "--data-dir", data], stderr=sink, stdout=subprocess.DEVNULL, env=env
        )
    try:
        until(lambda: b"round" in log.read_bytes() or process.poll() is not None, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert not list((data / "tuning").glob("*"))
    assert not list(tmp_path.glob("fh-tune-*"))
    until(lambda: not processes_with(str(tmp_path)), 5)


def processes_with(word: str) -> list[int]:
    """Processes that name `word` in their arguments, where /proc tells."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_nothing_is_measured_beside_a_running_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fake_model(data)
    with serving(data, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as server:
        env = {"FREEHOLD_URL": server.root}
        assert_one_line(run(tmp_path, "tune", "fake", "--data-dir", data, env=env), 1, "A server is running", "--force")
        forced = run(tmp_path, "tune", "fake", "--force", "--data-dir", data, env=env)
        assert_one_line(forced, 1, "nothing to tune")
        assert "warning: A server is running" in forced.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, ["MODEL"]),
        (("--quick", "--full", "m"), 2, ["exclude each other"]),
        (("--list", "--forget", "m"), 2, ["exclude each other"]),
        (("absent",), 2, ["absent", "does not exist"]),
        (("absent", "--forget"), 2, ["absent", "does not exist"]),
        (("--seconds", "0", "m"), 2, ["--seconds"]),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, arguments: tuple[str, ...], code: int, words: list[str]) -> None:
    assert_one_line(tune(tmp_path, tmp_path / "data", *arguments), code, *words)
