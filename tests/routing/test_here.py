"""Recommendations on recorded machines, with the engine builds that they have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from freehold.fleet import builds
from freehold.hardware import tuning
from freehold.hardware.fit import Plan
from freehold.hardware.plan import HOST, Knobs
from freehold.hardware.quickest import Seen, quickest
from freehold.hardware.tuning import Speed, Tuned
from freehold.routing.advice import Candidate, recommend
from freehold.routing.here import look
from freehold.routing.planner import Home
from freehold.settings import Settings
from freehold.store import catalogue
from tests.hardware.recorded import read

GIB = 2**30
ENTRIES = catalogue.all()


def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def install(data_dir: Path, backend: builds.Backend) -> None:
    """A build as `freehold engine install` leaves it, without the engine."""
    staged = builds.folder(data_dir) / "b1"
    staged.mkdir(parents=True)
    made = builds.Build(backend, "wheel", backend, "llama.cpp", builds.pin("wheel"))
    builds.commit(builds.folder(data_dir), made, staged)


def pick(recorded: str, tmp_path: Path, backend: builds.Backend | None = None) -> tuple[Candidate, tuple[str, ...]]:
    if backend:
        install(tmp_path / "data", backend)
    known = settings(tmp_path)
    here = look(Home.of(read(recorded).probe(tmp_path), known), known)
    assert not here.budget.shortfalls(())
    # the host's bandwidth is this machine's: a recorded one has its own
    here = replace(here, rates=replace(here.rates, bandwidth={**here.rates.bandwidth, HOST: 40e9}))  # type: ignore[union-attr,type-var]
    advice = recommend(ENTRIES, "chat", here)
    assert advice.pick
    return advice.pick, advice.notes


@pytest.mark.parametrize(
    ("recorded", "backend", "least", "most"),
    [
        ("laptop", None, 4e9, 22e9),
        ("container", None, 0.5e9, 5e9),
        ("raspberry-pi-5", None, 2e9, 9e9),
        ("gpu-24gb", "cuda", 24e9, 36e9),
        ("gpu-8gb", "cuda", 7e9, 36e9),
        ("two-gpus", "cuda", 24e9, 36e9),
        ("amd-gpu", "rocm", 12e9, 36e9),
        ("intel-arc", "vulkan", 12e9, 36e9),
        ("wsl", "cuda", 7e9, 36e9),
        ("mig", "cuda", 24e9, 36e9),
        ("unified-gb10", "cuda", 24e9, 130e9),
        ("mac-m3-pro", "metal", 4e9, 22e9),
    ],
)
def test_a_recorded_machine_gets_a_model_of_a_sensible_size(
    tmp_path: Path, recorded: str, backend: builds.Backend | None, least: float, most: float
) -> None:
    found, notes = pick(recorded, tmp_path, backend)
    assert least <= found.entry.parameters <= most, found.name
    assert isinstance(found.outcome, Plan)
    assert any("estimates" in note for note in notes)
    if backend and found.entry.active is None:
        assert found.outcome.gpu_layers > 0


def test_a_gpu_that_no_build_reaches_is_said_and_not_counted(tmp_path: Path) -> None:
    found, notes = pick("gpu-24gb", tmp_path)
    assert isinstance(found.outcome, Plan)
    assert {share.device for share in found.outcome.memory} == {HOST}
    assert any("RTX 4090" in note and "cuda" in note for note in notes)


def test_what_was_tuned_on_this_machine_is_told_as_measured(tmp_path: Path) -> None:
    machine = read("laptop").probe(tmp_path)
    entry = catalogue.find("qwen3:4b")
    assert entry
    digest = entry.variant.files[0].sha256
    assert digest
    data = tmp_path / "data"
    known = builds.versions(builds.folder(data))
    done = Speed(prefill=321.0, decode=12.5)
    tuning.save(
        data, Tuned(f"sha256:{digest}", tuning.fingerprint(machine), known["prebuilt"], Knobs(), "f16", 1, done, Speed(), 1)
    )
    here = look(Home.of(machine, settings(tmp_path)), settings(tmp_path), speeds=False)
    speed = here.measured(digest)
    assert speed
    assert (speed.decode, speed.prefill, speed.measured) == (12.5, 321.0, True)
    assert here.measured("0" * 64) is None


def test_a_busy_moment_changes_no_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = settings(tmp_path)
    home = Home.of(read("laptop").probe(tmp_path), known)
    seen = []
    for figure in (40e9, 4e9, 50e9, 5e9):
        monkeypatch.setattr("freehold.hardware.bandwidth.measure", lambda memory, cores, figure=figure: figure)
        here = look(home, known)
        assert here.rates
        seen.append((here.rates.bandwidth[HOST], "at its quickest" in " ".join(here.notes)))
    assert seen == [(40e9, False), (40e9, True), (50e9, False), (50e9, True)]
    other = look(Home.of(read("raspberry-pi-5").probe(tmp_path), known), known)
    assert other.rates
    assert other.rates.bandwidth[HOST] == 5e9  # another machine with the same folder: its own figures


def test_the_memory_of_a_running_server_is_the_memory_of_every_device_that_it_names(tmp_path: Path) -> None:
    install(tmp_path / "data", "cuda")
    home = Home.of(read("gpu-24gb").probe(tmp_path), settings(tmp_path))
    known = home.within({"cuda:0": 20 * GIB, "rocm:0": GIB}).bytes_by_device
    assert known == {**home.bytes_by_device, "cuda:0": 20 * GIB}
    own = Home.of(home.machine, Settings(data_dir=tmp_path / "data", memory={"budget": GIB}))  # type: ignore[arg-type]
    assert own.within({HOST: 2 * GIB}) == own


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 1, "bandwidth": 1e300, "measured": 1}', "x" * 9999])
def test_a_senseless_record_of_the_memorys_speed_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine" / "abc.json").write_text(text)
    assert quickest(tmp_path, "abc", Seen(3e9, 1.0)) == Seen(3e9, 1.0)
    assert quickest(tmp_path, "abc", Seen(2e9, 2.0)) == Seen(3e9, 1.0)  # it was mended


def test_a_folder_that_takes_no_record_costs_no_advice(tmp_path: Path) -> None:
    (tmp_path / "machine").write_text("a file")
    assert quickest(tmp_path, "abc", Seen(3e9, 1.0)) == Seen(3e9, 1.0)
