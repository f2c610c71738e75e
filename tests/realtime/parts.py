"""A session to be tested without I/O: its ids count up, and every event for the client is one that OpenAI's SDK knows."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable
from typing import Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from freehold.errors import InvalidRequest
from freehold.protocol.realtime.config import Settings, settings
from freehold.protocol.realtime.effects import Effect, Send
from freehold.protocol.realtime.events import understood
from freehold.protocol.realtime.session import Session

KNOWN: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """The event, if it is what the SDK's own types say. A session has an id and an object there only in other places."""
    KNOWN.validate_python(json.loads(json.dumps(event)))
    return event


def same_model(settings: Settings) -> None:
    if settings.model not in (None, "gpt-realtime"):
        raise InvalidRequest("Another model.", param="session.model")


class Table:
    """Counts ids, and keeps what was sent."""

    def __init__(self, check: Any = same_model, **given: Any):
        self._counts: collections.Counter[str] = collections.Counter()
        self.session = Session(settings({"type": "realtime", **given}), "gpt-realtime", 1, self._identify, check)
        self.sent: list[dict[str, Any]] = []

    def _identify(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}_{self._counts[kind]}"

    def take(self, effects: Iterable[Effect]) -> list[Any]:
        """The effects other than events; those are kept."""
        others = []
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append(checked(dict(effect.event)))
            else:
                others.append(effect)
        return others

    def says(self, kind: str, **fields: Any) -> list[Any]:
        """What becomes of a client's event."""
        return self.take(self.session.received(understood(json.dumps({"type": kind, **fields}))))

    def hears(self, kind: str, **fields: Any) -> list[Any]:
        return self.take(self.session.heard({"type": kind, **fields}))

    def turn(self, text: str, start: int = 0, end: int = 1000) -> list[Any]:
        """A turn is spoken and recognised."""
        others = self.hears("speech_started", audio_start_ms=start)
        others += self.hears("speech_stopped", audio_end_ms=end)
        return others + self.hears("completed", text=text, seconds=1.0, audio_start_ms=start, audio_end_ms=end)

    def kinds(self) -> list[str]:
        """The types of what was sent since the last call."""
        kinds = [event["type"] for event in self.sent]
        self.sent.clear()
        return kinds

    def last(self, kind: str) -> dict[str, Any]:
        return next(event for event in reversed(self.sent) if event["type"] == kind)
