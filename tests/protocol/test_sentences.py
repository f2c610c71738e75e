"""Sentences, of a text that comes in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.protocol.sentences import Sentences


def split(*pieces: str) -> list[str]:
    sentences = Sentences()
    found = [sentence for piece in pieces for sentence in sentences.feed(piece)]
    return [sentence.strip() for sentence in (*found, sentences.rest()) if sentence.strip()]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("The sky is blue. The grass is green!", ["The sky is blue.", "The grass is green!"]),
        ("Dr. Smith paid 3.50 in all. Then he left.", ["Dr. Smith paid 3.50 in all.", "Then he left."]),
        ("Das sind z. B. Äpfel bzw. Birnen. Mehr nicht.", ["Das sind z. B. Äpfel bzw. Birnen.", "Mehr nicht."]),
        ("Orwell named it in 1984. Then he left.", ["Orwell named it in 1984.", "Then he left."]),
        ("मैं आज घर पर ही हूँ। आप कहाँ हैं?", ["मैं आज घर पर ही हूँ।", "आप कहाँ हैं?"]),
        ('He said "stop it now." She did.', ['He said "stop it now."', "She did."]),
        ("No. Yes. I cannot say which it is.", ["No. Yes. I cannot say which it is."]),
        ("First line of it\nSecond line of it", ["First line of it", "Second line of it"]),
        ("今日はとても良い天気ですね。明日もそうでしょう。", ["今日はとても良い天気ですね。", "明日もそうでしょう。"]),
        ("without any end", ["without any end"]),
        ("", []),
    ],
)
def test_a_text_is_cut_where_its_sentences_end(text: str, sentences: list[str]) -> None:
    assert split(text) == split(*text) == sentences


@given(st.lists(st.text(alphabet="ab .!?\n。é", max_size=300), max_size=8))
def test_nothing_is_lost_and_no_sentence_has_no_end(pieces: list[str]) -> None:
    sentences = Sentences()
    found = [sentence for piece in pieces for sentence in sentences.feed(piece)]
    assert "".join(found) + sentences.rest() == "".join(pieces)
    assert all(0 < len(sentence) <= 700 for sentence in found)


def test_a_sentence_is_given_as_soon_as_it_is_known_to_have_ended() -> None:
    sentences = Sentences()
    assert sentences.feed("One sentence is here.") == []  # it may go on: "here.txt"
    assert sentences.feed(" And") == ["One sentence is here."]
