"""What the measured models read: text that no cache has seen before, and text that invites repetition."""

from __future__ import annotations

import random

_SENTENCES = (
    "The ferry to {place} had left before sunrise, so {name} waited {number} hours on the cold quay.",
    "{name} wrote down the price of {number} crates of apples and did not believe it.",
    "Nobody in {place} remembered who had planted the old walnut tree behind the school.",
    "In the workshop, {name} took the clock apart and found {number} screws that belonged to nothing.",
    "The committee met in {place} for {number} days and agreed only on the date of its next meeting.",
    "After the storm the road to {place} was closed, and letters came by boat.",
    "{name} had learnt the language of {place} from {number} records and a cookbook.",
    "A museum in {place} shows {number} keys whose doors were never found.",
    "The orchestra played on although {name} had lost the second half of the score.",
    "Every morning {name} counted the steps to the harbour, and every morning there were {number}.",
)
_NAMES = ("Ada", "Bertil", "Chiara", "Demir", "Esra", "Farouk", "Greta", "Hideo", "Ines", "Jorun", "Kofi", "Lidia")
_PLACES = ("Brindle", "Cardona", "Dunmore", "Eskdale", "Ferrol", "Gdov", "Halden", "Izola", "Jaca", "Kotor")


class Writer:
    """Texts from a seed; each call gives another."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)  # noqa: S311 - no secret is made of it

    def prose(self, words: int) -> str:
        """At least that many words of unconnected prose."""
        sentences: list[str] = []
        while sum(sentence.count(" ") + 1 for sentence in sentences) < words:
            sentences.append(self._sentence())
        return " ".join(sentences)

    def copying(self, words: int) -> str:
        """A passage of about that many words, twice, and the beginning of a third time: a model goes on with the passage, as it
        does when it quotes, corrects or rewrites what it was given."""
        passage = self.prose(words)
        start = " ".join(passage.split()[:12])
        return f"{passage}\n\nThe same text once more:\n\n{passage}\n\nThe same text once more:\n\n{start}"

    def _sentence(self) -> str:
        pick = self._random
        place, name, number = pick.choice(_PLACES), pick.choice(_NAMES), pick.randrange(3, 10_000)
        return pick.choice(_SENTENCES).format(place=place, name=name, number=number)
