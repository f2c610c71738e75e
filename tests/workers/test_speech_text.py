"""What is spoken of a text: nothing that only eyes want, nothing lost of its words, in pieces that are bounded."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.workers.speech.clean import clean, has_words
from freehold.workers.speech.split import LONGEST, pieces

_WORDS = st.lists(st.text(st.characters(categories=("Lu", "Ll", "Lo")), min_size=1, max_size=12), min_size=1, max_size=30)
_TEXTS = st.text(st.one_of(st.characters(), st.sampled_from(" .,!?;:\n()\"'。！、\u0301\u200d")), max_size=2000)


@given(_TEXTS)
@settings(max_examples=300, deadline=None)
def test_the_pieces_of_a_text_are_all_of_it_and_bounded(text: str) -> None:
    found = list(pieces(text))
    assert "".join(found) == text
    assert all(0 < len(piece) <= LONGEST for piece in found)


@given(_TEXTS)
@settings(max_examples=300, deadline=None)
def test_nothing_that_is_cleaned_can_command_an_engine(text: str) -> None:
    cleaned = clean(text, "en-us")
    assert not any(unicodedata.category(letter) in {"Cc", "Cs", "Co", "Cn"} for letter in cleaned if letter != "\n")
    assert len(cleaned) <= 8 * len(text) + 8


_MARKS = ("**{}**", "# {}", "- {}", "> {}", "`{}`", "[{}](https://a.b/c)", "| {} |", "<b>{}</b>", "_{}_")


@given(_WORDS, st.sampled_from(_MARKS))
@settings(max_examples=300, deadline=None)
def test_marks_go_and_words_stay(words: list[str], mark: str) -> None:
    sentence = unicodedata.normalize("NFKC", " ".join(words))
    cleaned = clean(mark.format(sentence), "xx")
    assert cleaned.removesuffix(".") == clean(sentence, "xx")
    assert cleaned.removesuffix(".").split() == sentence.split()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("See https://www.example.com/docs/a-b?x=1#y.", "See example dot com slash docs slash a b."),
        ("Mail me@example.com!", "Mail me at example dot com!"),
        ("It costs $5.20.", "It costs 5 dollars 20."),
        ("£1, €1,234.56, $1.5 million", "1 pound, 1234 euros 56, 1.5 million dollars"),
        ("on 2026-11-25 at 14:30", "on November 25, 2026 at 14 30"),
        ("at 9:05, 9:00 am, 10:00", "at 9 oh 5, 9 A M, 10 o'clock"),
        ("Mr. Smith vs. Dr. No, e.g. 5km at 20 °C", "Mr Smith versus Dr No, for example 5 kilometers at 20 degrees Celsius"),
        ("# Title\n\n- **one**\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |", "Title\none\ntwo\na, b.\n1, 2."),
        ("```py\nprint(1)\n```", "print(1)"),
        ("Hi 😀👩‍👩‍👧 there", "Hi there"),
        ("\x01v1 loud \x0115r", "v1 loud 15r"),
        ("a < b and c > d &amp; e", "a < b and c > d & e"),
        ("snake_case is 3 * 4", "snake_case is 3 * 4"),
        ("𝐇𝐞𝐥𝐥𝐨 ＡＢＣ", "Hello ABC"),
        ("1234-56-78 and 2026-13-45", "1234-56-78 and 2026-13-45"),
    ],
)
def test_signs_and_figures_become_words(text: str, said: str) -> None:
    assert clean(text, "en-us") == said


def test_other_languages_have_their_own_words() -> None:
    assert clean("5,20 € am 2026-11-25, a.b@c.de", "de") == "5 Euro 20 am 25. November 2026, a Punkt b ät c Punkt de"
    assert clean("le 2026-03-01", "fr-be") == "le 1 mars 2026"
    assert clean("2026-03-01 $5", "fi") == "2026-03-01 $5"  # left to the engine


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello world. This is it! Yes?", ["Hello world. ", "This is it! ", "Yes?"]),
        ("Dr. Smith paid 3.50 to J. R. Doe. Fine.", ["Dr. Smith paid 3.50 to J. R. Doe. ", "Fine."]),
        ('"Really?" she said. "No."', ['"Really?" ', "she said. ", '"No."']),
        ("首都です。人口は多い！はい", ["首都です。", "人口は多い！", "はい"]),
        ("1. First\n2. Second", ["1. First\n", "2. Second"]),
    ],
)
def test_a_sentence_is_a_piece(text: str, found: list[str]) -> None:
    assert list(pieces(text)) == found


def test_the_first_piece_of_a_long_sentence_is_its_first_clauses() -> None:
    text = "As it happens, this sentence has a few clauses, and " + "it goes on and on " * 12 + "until it ends."
    first = next(pieces(text))
    assert first == "As it happens, this sentence has a few clauses, "


def test_scripts_without_spaces_are_cut_all_the_same() -> None:
    assert max(map(len, pieces("漢" * 5000))) == LONGEST
    torn = [piece for piece in pieces("e\u0301" * 1000) if unicodedata.combining(piece[0])]
    assert not torn


@pytest.mark.parametrize("text", ["", " ", "...", "—", "!?", "\n"])
def test_a_piece_without_words_is_known(text: str) -> None:
    assert not has_words(text)


@pytest.mark.parametrize(
    "mark", ["\x01", "<a ", "[", "|", "$1", "http://", "a@", ".a", " \n", "*_", "<!--", "- ", "`", "\u0301", "9:05 "]
)
def test_a_hostile_text_takes_no_longer_than_another(mark: str) -> None:
    text = (mark * 100_000)[:100_000]
    began = time.process_time()
    assert sum(map(len, pieces(clean(text, "en-us")))) <= 8 * len(text)
    assert time.process_time() - began < 10
