"""Leases: bounded, first come first served, and given back whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from freehold.errors import QueueFull, QueueTimeout
from freehold.routing.admission import Load, Verdict, decide, retry_after
from freehold.routing.scheduler import Scheduler
from freehold.settings import QueueSettings


def scheduler(size: int = 10, timeout: float = 5.0) -> Scheduler:
    return Scheduler(QueueSettings(size=size, timeout=timeout))


async def hold(
    leases: Scheduler, until: asyncio.Event, need: int = 1, started: list[int] | None = None, number: int = 0
) -> None:
    async with leases.lease("m", slots=2, need=need):
        if started is not None:
            started.append(number)
        await until.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("taken", "waiting", "need", "verdict"),
    [
        (0, 0, 1, Verdict.START),
        (1, 0, 1, Verdict.START),
        (2, 0, 1, Verdict.WAIT),
        (1, 0, 2, Verdict.WAIT),
        (0, 1, 1, Verdict.WAIT),  # nobody overtakes
        (2, 3, 1, Verdict.REFUSE),
    ],
)
def test_a_newcomer_starts_waits_or_is_refused(taken: int, waiting: int, need: int, verdict: Verdict) -> None:
    assert decide(Load(slots=2, taken=taken, waiting=waiting, usual_seconds=1), need, queue_size=3) is verdict


def test_the_time_to_try_again_grows_with_the_queue_and_stays_within_a_minute() -> None:
    times = [retry_after(Load(slots=2, taken=2, waiting=n, usual_seconds=3)) for n in (0, 4, 1000)]
    assert times == sorted(times)
    assert times[0] >= 1
    assert times[-1] == 60


async def test_no_more_run_than_there_are_slots_and_the_rest_follow_in_order() -> None:
    leases, started = scheduler(), list[int]()
    ends = [asyncio.Event() for _ in range(5)]
    tasks = [asyncio.create_task(hold(leases, end, started=started, number=n)) for n, end in enumerate(ends)]
    await settle()
    assert started == [0, 1]
    ends[1].set()
    await settle()
    assert started == [0, 1, 2]
    for end in ends:
        end.set()
    await asyncio.gather(*tasks)
    assert started == [0, 1, 2, 3, 4]
    assert leases.busy("m") == 0


async def test_a_full_queue_refuses_at_once() -> None:
    leases, end = scheduler(size=1), asyncio.Event()
    tasks = [asyncio.create_task(hold(leases, end)) for _ in range(3)]
    await settle()
    with pytest.raises(QueueFull) as caught:
        async with leases.lease("m", slots=2):
            pass
    assert caught.value.status == 429
    assert caught.value.retry_after
    end.set()
    await asyncio.gather(*tasks)


async def test_a_turn_that_does_not_come_in_time_never_starts() -> None:
    leases, end = scheduler(timeout=0.05), asyncio.Event()
    tasks = [asyncio.create_task(hold(leases, end)) for _ in range(2)]
    await settle()
    with pytest.raises(QueueTimeout):
        async with leases.lease("m", slots=2):
            pytest.fail("it started")
    assert leases.loads()["m"].waiting == 0
    end.set()
    await asyncio.gather(*tasks)


async def test_a_waiter_that_leaves_frees_its_place_and_lets_the_next_one_in() -> None:
    leases, end, started = scheduler(), asyncio.Event(), list[int]()
    holder = asyncio.create_task(hold(leases, end, need=1))
    await settle()
    big = asyncio.create_task(hold(leases, end, need=2))  # blocks the head of the queue
    small = asyncio.create_task(hold(leases, end, need=1, started=started, number=7))
    await settle()
    assert started == []
    big.cancel()
    await settle()
    assert started == [7]
    end.set()
    await asyncio.gather(holder, small)
    assert leases.busy("m") == 0


async def test_a_turn_that_comes_in_the_moment_of_leaving_is_passed_on() -> None:
    leases, end = scheduler(), asyncio.Event()
    first = asyncio.create_task(hold(leases, end, need=2))
    await settle()
    leaver = asyncio.create_task(hold(leases, asyncio.Event(), need=2))
    await settle()
    end.set()
    await asyncio.sleep(0)  # the lease is given back and handed to the leaver ...
    leaver.cancel()  # ... who leaves before it runs
    await asyncio.gather(first, leaver, return_exceptions=True)
    assert leases.busy("m") == 0


async def test_more_choices_than_slots_take_all_slots_rather_than_wait_for_ever() -> None:
    leases = scheduler()
    async with leases.lease("m", slots=2, need=128) as lease:
        assert lease.slots == 2
