"""What supervision decides, without processes: when to start again, who is stuck, what an exit means, what to cut."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.fleet.backoff import next_start
from freehold.fleet.endings import of_exit
from freehold.fleet.pulse import Pace, Silence, Work, stuck
from freehold.fleet.vitals import anonymous_bytes, oom_kills, vitals
from freehold.hardware.plan import HOST, Knobs, Plan, Share
from freehold.hardware.smaller import smaller
from freehold.settings import WorkerSettings

RULES = WorkerSettings(crash_budget=5, crash_window=300, cool_down=600)
LEAST = 6.0  # seconds of silence that always may be
IDLE = Work(requests=0, size=0, batch=2048, context=4096)
SMALL = Pace(token_seconds=0.005, threads=2, on_gpu=False)


# --- when to start again


def test_the_first_crash_of_a_worker_that_served_is_mended_at_once() -> None:
    assert next_start([100.0], 100.0, served=True, rules=RULES).seconds == 0


def test_pauses_double_and_the_budget_ends_them() -> None:
    waits = [next_start([0.0] * n, 0.0, served=False, rules=RULES) for n in range(1, 6)]
    assert [wait.seconds for wait in waits] == [0.5, 1, 2, 4, 600]
    assert [wait.given_up for wait in waits] == [False] * 4 + [True]


def test_crashes_of_long_ago_do_not_count() -> None:
    assert next_start([0.0, 1.0, 2.0, 3.0, 1000.0], 1000.0, served=True, rules=RULES).seconds == 0


# --- who is stuck


def spinning(seconds: float) -> Silence:
    return Silence(seconds, cpu=seconds, still=False, stopped=False)


def test_short_silence_is_never_held_against_a_worker() -> None:
    assert stuck(Silence(LEAST - 0.1, cpu=0.0, still=True, stopped=True), IDLE, SMALL, LEAST) is None


def test_an_idle_worker_that_spins_is_stuck_as_soon_as_it_may_be() -> None:
    assert stuck(spinning(LEAST), IDLE, SMALL, LEAST)


def test_a_worker_with_a_short_request_that_spins_is_stuck_within_ten_seconds() -> None:
    assert stuck(spinning(8.0), replace(IDLE, requests=1, size=300), SMALL, LEAST)


def test_a_worker_that_reads_long_prompts_is_given_the_time_of_a_batch() -> None:
    long = replace(IDLE, requests=8, size=8 * 12_000)
    batch = 2048 * SMALL.token_seconds * SMALL.threads  # processor seconds, on whatever clock
    assert stuck(Silence(60.0, cpu=1.5 * batch, still=False, stopped=False), long, SMALL, LEAST) is None
    assert stuck(Silence(60.0, cpu=10 * batch, still=False, stopped=False), long, SMALL, LEAST)


def test_a_worker_that_others_starve_is_not_stuck_however_long_it_takes() -> None:
    assert stuck(Silence(600.0, cpu=1.0, still=False, stopped=False), IDLE, SMALL, LEAST) is None


def test_a_slow_machine_is_given_more_time_than_a_fast_one() -> None:
    work, slow = replace(IDLE, requests=1, size=8000), replace(SMALL, token_seconds=0.5)
    assert stuck(spinning(300.0), work, SMALL, LEAST)
    assert stuck(spinning(300.0), work, slow, LEAST) is None


def test_a_process_that_waits_for_nothing_is_stuck_unless_a_gpu_works_for_it() -> None:
    still = Silence(LEAST, cpu=0.0, still=True, stopped=False)
    work = replace(IDLE, requests=1, size=100_000)
    assert stuck(still, work, SMALL, LEAST)
    assert stuck(still, work, replace(SMALL, on_gpu=True), LEAST) is None
    assert stuck(replace(still, seconds=600.0), work, replace(SMALL, on_gpu=True), LEAST)


def test_where_the_system_tells_nothing_only_the_clock_counts() -> None:
    blind = Silence(LEAST, cpu=None, still=False, stopped=False)
    assert stuck(blind, IDLE, SMALL, LEAST)
    assert stuck(blind, replace(IDLE, requests=1, size=100_000), SMALL, LEAST) is None


def test_a_model_found_stuck_again_is_given_more_time() -> None:
    work = replace(IDLE, requests=1, size=8000)
    seconds = next(s for s in range(1000) if stuck(spinning(s), work, SMALL, LEAST))
    assert stuck(spinning(seconds), work, replace(SMALL, patience=2.0), LEAST) is None


# --- what the system tells


def test_a_process_is_read_from_proc_though_its_name_is_hostile(tmp_path: Path) -> None:
    for task in (7, 8):
        folder = tmp_path / f"proc/7/task/{task}"
        folder.mkdir(parents=True)
        state = "S" if task == 7 else "R"
        (folder / "stat").write_text(f"{task} (a) b 1 ( ) {state} 1 7 7 0 -1 0 0 0 3 0 150 50 0 0 20 0 2 0 1 2 3\n")
    (tmp_path / "proc/7/stat").write_text((tmp_path / "proc/7/task/7/stat").read_text())
    (tmp_path / "proc/7/status").write_text("Name:\tx\nVmRSS:\t900 kB\nRssAnon:\t  600 kB\nRssFile:\t300 kB\n")
    (tmp_path / "proc/vmstat").write_text("pgfault 3\noom_kill 2\n")
    found = vitals(7, tmp_path)
    assert found is not None
    assert (found.awake, found.stopped) == (True, False)
    assert found.cpu == pytest.approx(2.0)
    assert anonymous_bytes(7, tmp_path) == 600 * 1024
    assert oom_kills(tmp_path) == 2
    assert vitals(8, tmp_path) is None
    assert anonymous_bytes(8, tmp_path) is None
    assert oom_kills(tmp_path / "proc") is None


# --- what an exit means


@pytest.mark.parametrize(
    ("line", "on_gpu"),
    [
        ("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 3221225472", False),
        ("terminate called after throwing an instance of 'std::bad_alloc'", False),
        ("mmap: Cannot allocate memory", False),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000 MiB on device 0: cudaMalloc failed: out of memory", True),
        ("ggml_vulkan: Device memory allocation of size 1 failed; vk::Device::allocateMemory: ErrorOutOfDeviceMemory", True),
    ],
)
def test_want_of_memory_is_told_from_the_engines_own_words(line: str, on_gpu: bool) -> None:
    ending = of_exit(1, ["loading", line], line)
    assert (ending.kind, ending.on_gpu) == ("out_of_memory", on_gpu)
    assert line in ending.reason


def test_a_kill_while_the_system_was_out_of_memory_is_said_to_be_that() -> None:
    assert of_exit(-signal.SIGKILL, [], "", oom_kills=1).kind == "out_of_memory"
    assert of_exit(-signal.SIGKILL, [], "").kind == "killed"
    assert of_exit(-signal.SIGSEGV, [], "").reason.startswith("it was killed by SIGSEGV")
    assert of_exit(3, ["the weights are corrupt"], "the weights are corrupt").kind == "exited"


# --- what to cut


def plan(**fields: object) -> Plan:
    memory = (Share(HOST, 1000, 800, 100), Share("cuda:0", 4000, 0, 200))
    return replace(Plan(context=4096, slots=4, memory=memory, knobs=Knobs(threads=2)), **fields)  # type: ignore[arg-type]


def test_a_smaller_plan_has_half_the_slots_then_an_8_bit_cache_then_half_the_context() -> None:
    less, cut = smaller(plan(), on_gpu=False) or pytest.fail("nothing")
    assert (less.slots, less.on(HOST)) == (2, 1500)
    assert cut in less.notes[-1]
    less, _ = smaller(plan(slots=1), on_gpu=False) or pytest.fail("nothing")
    assert (less.kv_type, less.knobs.flash_attention, less.on(HOST)) == ("q8_0", "on", 1525)
    less, _ = smaller(plan(slots=1, kv_type="q8_0"), on_gpu=False) or pytest.fail("nothing")
    assert (less.context, less.on(HOST)) == (2048, 1500)
    assert smaller(plan(slots=1, kv_type="q8_0", context=512), on_gpu=False) is None


def test_a_gpu_that_is_full_is_given_fewer_layers() -> None:
    less, _ = smaller(plan(gpu_layers=30), on_gpu=True) or pytest.fail("nothing")
    assert less.gpu_layers == 21
    assert less.on("cuda:0") == 2940
    assert less.on(HOST) == pytest.approx(1900 + 1260, abs=3)
    assert less.slots == 4
