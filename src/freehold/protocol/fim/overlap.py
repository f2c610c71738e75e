"""What a model writes again of the text that follows the gap is taken off its answer."""

from __future__ import annotations

_LEAST = 3  # letters, digits and signs that must agree: a bracket alone may well belong to the answer
_HELD = 400  # characters that are held back at most


class Overlap:
    """Takes an answer in pieces and gives it back, without an end that is the beginning of `suffix`; blanks don't count.

    Text that may turn out to be such an end is held back until it is known not to be.
    """

    def __init__(self, suffix: str):
        self._next = _solid(suffix[: 4 * _HELD])
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
        return "" if len(solid) >= _LEAST and self._next.startswith(solid) else held

    def _safe(self) -> int:
        """Where the first end begins that may go on as the suffix does."""
        begin = max(0, len(self._held) - _HELD)
        for at in range(begin, len(self._held)):
            if self._held[at].isspace():
                continue
            if self._next.startswith(_solid(self._held[at:])):
                return at
        return len(self._held)


def _solid(text: str) -> str:
    return "".join(text.split())
