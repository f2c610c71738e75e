"""What a model writes again of the text that follows the gap is taken off its answer."""

from __future__ import annotations

_LEAST = 3  # letters, digits and signs that must agree: a bracket alone may well belong to the answer
_HELD = 400  # characters that are held back at most


class Overlap:
    """Takes an answer in pieces and gives it back, without an end that is the beginning of `suffix`; blanks don't count. With
    such an end go the blanks before it that `suffix` begins with as well.

    Text that may turn out to be such an end is held back until it is known not to be.
    """

    def __init__(self, suffix: str):
        self._next = _solid(suffix[: 4 * _HELD])
        self._blanks = suffix[: len(suffix) - len(suffix.lstrip())]
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may be shown."""
        if not self._next:
            return piece
        self._held += piece
        safe = self._safe()
        shown, self._held = self._held[:safe], self._held[safe:]
        return shown

    def end(self) -> str:
        """What is left to show."""
        held, self._held = self._held, ""
        solid = _solid(held)
        if len(solid) < _LEAST or not self._next.startswith(solid):
            return held
        blanks, own = held[: len(held) - len(held.lstrip())], self._blanks
        while blanks and own and blanks[-1] == own[-1]:
            blanks, own = blanks[:-1], own[:-1]
        return blanks

    def _safe(self) -> int:
        """Where the first end begins, with the blanks before it, that may go on as the suffix does."""
        begin = max(0, len(self._held) - _HELD)
        for at in range(begin, len(self._held)):
            if self._held[at].isspace():
                continue
            if self._next.startswith(_solid(self._held[at:])):
                break
        else:
            at = len(self._held)
        while self._blanks and at > begin and self._held[at - 1].isspace():
            at -= 1
        return at


def _solid(text: str) -> str:
    return "".join(text.split())
