"""What was measured is found again for the same model, machine and engine, and for nothing else; broken files cost no start."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from freehold.hardware.cpu import Cpu
from freehold.hardware.memory import Memory
from freehold.hardware.namespaces import Namespaces
from freehold.hardware.plan import Knobs
from freehold.hardware.probe import Machine, probe
from freehold.hardware.tuning import Speed, Tuned, everything, fingerprint, forget, lookup, save

MODEL, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ENGINES = {"prebuilt": "1.0"}
TUNED = Tuned(
    model=MODEL,
    machine="0123456789ab",
    engine="1.0",
    knobs=Knobs(threads=3, threads_batch=4, ubatch=256, speculative="ngram-mod"),
    kv_type="f16",
    streams=4,
    speed=Speed(prefill=400.5, decode=80.0, together=120.0, busy=40.0),
    untuned=Speed(prefill=300.0, decode=60.0),
    measured=1_700_000_000,
    why="because",
)


def test_a_result_is_found_for_the_same_model_machine_and_engine_only(tmp_path: Path) -> None:
    save(tmp_path, TUNED)
    assert lookup(tmp_path, MODEL, TUNED.machine, ENGINES) == TUNED
    assert lookup(tmp_path, OTHER, TUNED.machine, ENGINES) is None
    assert lookup(tmp_path, MODEL, "ba9876543210", ENGINES) is None
    assert lookup(tmp_path, MODEL, TUNED.machine, {"prebuilt": "1.1"}) is None
    assert lookup(tmp_path, MODEL, TUNED.machine, {"native": "1.0"}) is None


def test_the_newest_result_of_an_installed_build_counts(tmp_path: Path) -> None:
    native = replace(TUNED, knobs=replace(TUNED.knobs, build="native"), engine="n1", measured=TUNED.measured + 1)
    save(tmp_path, TUNED)
    save(tmp_path, native)
    assert lookup(tmp_path, MODEL, TUNED.machine, {**ENGINES, "native": "n1"}) == native
    assert lookup(tmp_path, MODEL, TUNED.machine, ENGINES) == TUNED  # the other build was removed
    again = replace(TUNED, measured=TUNED.measured + 2)
    save(tmp_path, again)
    assert lookup(tmp_path, MODEL, TUNED.machine, {**ENGINES, "native": "n1"}) == again
    assert len(everything(tmp_path)) == 2


def test_forgetting_a_model_leaves_the_others(tmp_path: Path) -> None:
    save(tmp_path, TUNED)
    save(tmp_path, replace(TUNED, model=OTHER))
    assert forget(tmp_path, MODEL) == 1
    assert forget(tmp_path, MODEL) == 0
    assert [tuned.model for tuned in everything(tmp_path)] == [OTHER]


def test_nothing_is_found_where_nothing_was_ever_measured(tmp_path: Path) -> None:
    assert lookup(tmp_path / "none", MODEL, TUNED.machine, ENGINES) is None
    assert forget(tmp_path / "none", MODEL) == 0


def broken(change: dict[str, Any]) -> str:
    return json.dumps({"schema": 1, **asdict(TUNED), **change})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 10_000,
        "\x00" * 100,
        "{}" + " " * 70_000,
        broken({"schema": 2}),
        broken({"model": 7}),
        broken({"model": OTHER}),  # another model's, under this one's name
        broken({"knobs": {"threads": 10**9}}),
        broken({"knobs": {"threads": 0}}),
        broken({"knobs": {"speculative": "magic"}}),
        broken({"kv_type": "q1"}),
        broken({"speed": {"decode": -1}}),
        broken({"speed": {"decode": "fast"}}),
        broken({"speed": {"decode": 1e300}}),
        broken({"measured": -1}),
        broken({"measured": 1 << 60}),
    ],
)
def test_a_file_that_makes_no_sense_is_ignored_with_a_warning(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path, TUNED)
    path.write_text(text)
    assert lookup(tmp_path, MODEL, TUNED.machine, ENGINES) is None
    assert "tuning ignored" in caplog.text
    assert forget(tmp_path, MODEL) == 1  # it can be got rid of all the same


def test_a_write_that_fails_leaves_the_older_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, TUNED)

    def full(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("freehold.hardware.records.os.fsync", full)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, replace(TUNED, why="newer"))
    monkeypatch.undo()
    assert everything(tmp_path) == [TUNED]
    assert len(list((tmp_path / "tuning").iterdir())) == 1


def test_a_fingerprint_tells_machines_apart_and_not_boots() -> None:
    cpu = Cpu("Some CPU", 4, 8, 8, ("AVX2",))
    machine = Machine("Linux", "x86_64", cpu, Memory(16 * 2**30, 2**30), (), "none", Namespaces(True))
    other_boot = replace(machine, memory=Memory(16 * 2**30 - 5 * 2**20, 7))
    limited = replace(machine, cpu=replace(cpu, usable=2))
    assert fingerprint(machine) == fingerprint(other_boot)
    assert fingerprint(machine) != fingerprint(limited)
    assert fingerprint(machine) != fingerprint(replace(machine, memory=Memory(32 * 2**30, 0)))
    assert fingerprint(probe()) == fingerprint(probe())
