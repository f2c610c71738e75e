"""What was said in spoken answers, so that a later request of the same conversation can name it."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

LASTS = 3600.0  # seconds that a spoken answer can be named in a later request
_MOST = 1000


@dataclass
class Spoken:
    """What was said in spoken answers, by their ids, for an hour."""

    _said: OrderedDict[str, tuple[float, str]] = field(default_factory=OrderedDict)

    def keep(self, identity: str, text: str) -> None:
        self._said[identity] = (time.monotonic() + LASTS, text)
        while len(self._said) > _MOST:
            self._said.popitem(last=False)

    def get(self, identity: str) -> str | None:
        until, text = self._said.get(identity, (0.0, ""))
        return text if time.monotonic() < until else None
