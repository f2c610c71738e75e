"""Words of something that is still being said: told when two attempts agree on them, and never taken back."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

from freehold.workers.transcription.agreement import Agreement
from freehold.workers.transcription.threads import Threads, Urgency
from tests.conftest import until


def heard(*hypotheses: str, final: str) -> list[str]:
    agreement = Agreement()
    return [*(agreement.hear(each) for each in hypotheses), agreement.rest(final)]


@pytest.mark.parametrize(
    ("hypotheses", "told"),
    [
        # The mark behind a word is not sure before the next word is.
        (["Ever.", "Ever tried.", "Ever tried, ever", "Ever tried, ever failed."], ["", "Ever", " tried", ", ever failed."]),
        (["And?", "It was", "It was the best.", "It was the best of times."], ["", "", "It was", " the best of times."]),
        (["", "One", "", "One two", "One two three", "One two three"], ["", "", "", "", "One two", " three"]),
        (["我爱", "我爱你", "我爱你。"], ["", "我爱", "你。"]),
        (["It costs 10", "It costs 10.5", "It costs 10.5 euros."], ["", "It costs", " 10.5 euros."]),
        ([""], [""]),
        (["Hello."], ["Hello."]),
        (["...", "..."], ["", "..."]),
    ],
)
def test_what_is_told_makes_the_final_text(hypotheses: list[str], told: list[str]) -> None:
    pieces = heard(*hypotheses[:-1], final=hypotheses[-1])
    assert pieces == told
    assert "".join(pieces) == hypotheses[-1]


@pytest.mark.parametrize(
    ("hypotheses", "whole"),
    [
        # A mark or a capital that changes later stays as it was told; words go on where they are.
        (["It ran. It", "It ran. It hid.", "It ran, it hid, then slept."], "It ran. It hid, then slept."),
        # So does a word.
        (["We all go", "We all go home", "We're all going home now."], "We all go home now."),
        (["Ensure the", "Ensure the period", "In short, the period was so."], "Ensure the period was so."),
        # What was told and is not in the final text stays; nothing is told twice.
        (["a good story that's", "a good story that's a", "A good story."], "a good story that's."),
    ],
)
def test_what_changes_after_it_was_told_is_not_told_again(hypotheses: list[str], whole: str) -> None:
    assert "".join(heard(*hypotheses[:-1], final=hypotheses[-1])) == whole


def test_a_long_turn_is_told_no_more_slowly() -> None:
    """An hour of words, of which some were heard otherwise after they were told."""
    common = ("the", "a", "of", "and")
    words = [common[number // 2 % 4] if number % 2 else f"word{number * 7919 % 800}" for number in range(9000)]
    agreement = Agreement()
    for _ in range(2):
        agreement.hear(" ".join(words))
    words[10::40] = ["otherwise"] * len(words[10::40])
    del words[500:520]
    begun = time.monotonic()
    told = []
    for number in range(5):
        words += [f"new{number}", "word"]
        told.append(agreement.hear(" ".join(words)))
    assert told == ["", " new0 word", " new1 word", " new2 word", " new3 word"]
    assert agreement.rest(" ".join(words)) == " new4 word"
    assert time.monotonic() - begun < 5


def test_the_most_urgent_work_is_done_first_and_failures_are_raised_where_they_are_wanted() -> None:
    threads, begin, done = Threads(1, "test"), threading.Event(), list[str]()
    first = threads.submit(Urgency.FILE, begin.wait)
    others: list[Future[None]] = []
    for name, urgency in (("file", Urgency.FILE), ("partly", Urgency.SPEAKING), ("turn", Urgency.SPOKEN), ("2", Urgency.FILE)):
        others.append(threads.submit(urgency, lambda name=name: done.append(name)))  # type: ignore[misc]
    failing = threads.submit(Urgency.FILE, lambda: 1 / 0)
    assert others[3].cancel()
    begin.set()
    assert first.result(10)
    with pytest.raises(ZeroDivisionError):
        failing.result(10)
    assert done == ["turn", "partly", "file"]
    begin.clear()
    running = threads.submit(Urgency.FILE, begin.wait)
    until(running.running)
    closing = threading.Thread(target=threads.close)
    closing.start()
    begin.set()
    closing.join(10)
    assert not closing.is_alive()
    assert running.done()
    assert not threads.submit(Urgency.SPOKEN, lambda: done.append("late")).done()
