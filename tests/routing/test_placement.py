"""Which models are in memory: decided from a picture of them, tested without any."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from freehold.routing.placement import Close, Decision, Evict, Load, Refuse, Reopen, State, View, decide

TURN = 10.0


def model(name: str, size: int = 4, state: State = "in", **fields: object) -> View:
    return replace(View(name, {"host": size}, state=state), **fields)  # type: ignore[arg-type]


def wanted(name: str, size: int = 4, waited: float = 1.0, **fields: object) -> View:
    return model(name, size, "out", waiting=1, waited=waited, **fields)


def look(*models: View, free: int = 0) -> Decision:
    return decide(models, {"host": free}, TURN)


def test_what_fits_is_loaded() -> None:
    assert look(wanted("a"), free=4).actions == (Load("a"),)


def test_loads_on_one_device_follow_each_other_the_longest_waiting_first() -> None:
    assert look(wanted("a", waited=1), wanted("b", waited=2), free=8).actions == (Load("b"),)
    assert look(wanted("a"), model("b", state="loading"), free=4).actions == ()


def test_loads_on_different_devices_go_on_together() -> None:
    first = replace(wanted("a"), memory={"cuda:0": 4}, devices=frozenset({"cuda:0"}))
    second = replace(wanted("b"), memory={"cuda:1": 4}, devices=frozenset({"cuda:1"}))
    assert decide([first, second], {"cuda:0": 4, "cuda:1": 4}, TURN).actions == (Load("a"), Load("b"))


def test_the_idle_model_that_was_unused_longest_makes_room_and_no_more_than_needed() -> None:
    decision = look(wanted("new"), model("fresh", unused=1), model("stale", unused=9), free=0)
    assert [action.name for action in decision.actions] == ["stale"]
    decision = look(wanted("new", 8), model("small", 2, unused=9), model("large", 8, unused=1))
    assert [action.name for action in decision.actions] == ["large"]


def test_a_model_that_was_just_asked_is_given_a_moment_if_it_usually_is_asked_within_a_load_of_the_newcomer() -> None:
    new, old = wanted("new", load_seconds=2.0), model("old", unused=0.5, gap=0.1, stayed=60)
    often = look(new, old)
    assert (often.actions, often.again_in) == ((), 0.1 * 12 - 0.5)
    assert look(new, replace(old, unused=1.3)).actions == (Evict("old", "new needs its memory"),)
    seldom = look(wanted("new", load_seconds=2.0), model("old", unused=0.0, gap=3.0))
    assert seldom.actions == (Evict("old", "new needs its memory"),)


def test_that_moment_begins_when_who_waited_for_another_model_can_ask_again() -> None:
    new, old = wanted("new", load_seconds=2.0), model("old", unused=5.0, gap=0.1, stayed=60)
    loading, arrived = model("other", state="loading"), model("other", leased=1, stayed=0.2)
    assert look(new, old, loading) == Decision()  # its load could not begin yet
    assert look(new, old, arrived) == Decision((), 0.1 * 12 - 0.2)
    assert look(replace(new, waited=TURN), old, loading).actions == (Evict("old", "new needs its memory"),)
    assert look(new, replace(old, gap=3.0), loading).actions == (Evict("old", "new needs its memory"),)


def test_a_model_with_a_lease_is_let_go_on_for_a_turn_then_closed_and_never_ended() -> None:
    busy = model("busy", leased=2, stayed=60)
    early = look(wanted("new", waited=4), busy)
    assert early.actions == ()
    assert early.again_in == 6
    assert look(wanted("new", waited=10), busy).actions == (Close("busy"),)


def test_a_closed_model_leaves_with_its_last_lease_and_opens_again_when_nobody_waits_any_more() -> None:
    assert look(wanted("new", waited=11), model("old", state="closing", leased=1)).actions == ()
    assert [*look(wanted("new", waited=12), model("old", state="closing")).actions] == [Evict("old", "its turn is over")]
    assert look(model("new", state="out"), model("old", state="closing", leased=1)).actions == (Reopen("old"),)


def test_a_newcomer_has_its_turn_too_before_it_is_closed() -> None:
    assert look(wanted("new", waited=30), model("busy", leased=1, stayed=3)).again_in == 7


def test_a_turn_is_longer_than_a_few_loads() -> None:
    slow = wanted("slow", waited=15, load_seconds=5)
    assert look(slow, model("busy", leased=1, stayed=60)).actions == ()
    assert look(replace(slow, waited=20), model("busy", leased=1, stayed=60)).actions == (Close("busy"),)


def test_room_that_is_on_its_way_is_waited_for_and_not_made_twice() -> None:
    assert look(wanted("new"), model("old", state="leaving"), model("idle", unused=99)).actions == ()


def test_two_that_wait_share_what_leaves_without_either_taking_the_others_room() -> None:
    decision = look(wanted("a", waited=2), wanted("b", waited=1), model("old", state="leaving"), free=0)
    assert decision.actions == ()
    assert look(wanted("a", 8, waited=2), wanted("b", 4, waited=1), model("old", 4, state="leaving"), free=4).actions == ()


def test_a_pinned_model_stays_and_what_does_not_fit_beside_it_is_refused_with_the_figures() -> None:
    decision = look(wanted("new", 8), model("pinned", 6, pinned=True), model("idle", 2), free=2)
    assert decision.actions == (Refuse("new", "host", 8, 4, ("pinned",)),)


def test_what_may_yet_fit_is_not_refused() -> None:
    assert look(wanted("new", 8), model("loading", 6, state="loading"), free=2).actions == ()


def test_a_model_leaves_when_it_was_not_used_for_its_time_unless_it_is_pinned_or_busy() -> None:
    assert look(model("a", unused=61, keep_alive=60)).actions == (Evict("a", "it was not used"),)
    assert look(model("a", unused=20, keep_alive=60)).again_in == 40
    assert look(model("a", unused=61, keep_alive=60, pinned=True)).actions == ()
    assert look(model("a", leased=1, keep_alive=0)).actions == ()
    assert look(model("a", unused=0.0, keep_alive=0)).actions == (Evict("a", "it was not used"),)


def test_a_failing_model_makes_room_before_a_used_one() -> None:
    decision = look(wanted("new"), model("good", unused=99), model("broken", unused=1, failing=True))
    assert [action.name for action in decision.actions] == ["broken"]


def test_a_model_that_must_leave_finishes_what_it_has_begun() -> None:
    assert look(model("a", leased=1, must_leave=True)).actions == (Close("a"),)
    assert look(model("a", leased=1, must_leave=True, state="closing")).actions == ()
    assert [a.name for a in look(model("a", must_leave=True, state="closing")).actions] == ["a"]


views = st.builds(
    View,
    name=st.just(""),
    memory=st.fixed_dictionaries({"host": st.integers(0, 9), "cuda:0": st.integers(0, 9)}),
    state=st.sampled_from(["out", "loading", "in", "closing", "leaving"]),
    leased=st.integers(0, 2),
    waiting=st.integers(0, 2),
    waited=st.floats(0, 50),
    unused=st.floats(0, 50),
    stayed=st.floats(0, 50),
    keep_alive=st.none() | st.floats(0, 50),
    pinned=st.booleans(),
    must_leave=st.booleans(),
    failing=st.booleans(),
    load_seconds=st.floats(0, 9),
)


@given(st.lists(views, max_size=6), st.integers(0, 20), st.integers(0, 20))
def test_whatever_the_picture_no_lease_is_broken_no_memory_is_given_twice_and_nobody_waits_for_ever(
    found: list[View], host: int, gpu: int
) -> None:
    models = [replace(view, name=f"m{number}") for number, view in enumerate(found)]
    models = [replace(m, leased=0) if m.state in ("out", "loading", "leaving") else m for m in models]
    free = {"host": host, "cuda:0": gpu}
    decision = decide(models, free, TURN)
    by_name = {m.name: m for m in models}
    loaded = [by_name[a.name] for a in decision.actions if isinstance(a, Load)]
    for device, count in free.items():
        assert sum(m.memory[device] for m in loaded) <= count
    for action in decision.actions:
        subject = by_name[action.name]
        match action:
            case Evict():
                assert subject.leased == 0
                assert subject.state in ("in", "closing")
                assert not subject.pinned or subject.must_leave or subject.state == "closing"
            case Close():
                assert subject.state == "in"
            case Load():
                assert subject.state == "out"
                assert subject.waiting
    assert len({action.name for action in decision.actions}) == len(decision.actions)
    moving = any(m.state in ("loading", "leaving", "closing") for m in models) or decision.actions
    if any(m.state == "out" and m.waiting for m in models) and not moving:
        assert decision.again_in is not None


def test_who_was_overtaken_by_an_older_request_waits_and_is_not_refused() -> None:
    assert look(wanted("a", waited=2), wanted("b", waited=1), free=4).actions == (Load("a"),)
