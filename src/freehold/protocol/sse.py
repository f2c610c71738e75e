"""Server-sent events as bytes (WHATWG HTML §9.2): cut at their boundaries, looked into only where a look is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from freehold.errors import EngineBadResponse

DONE = b"data: [DONE]\n\n"
_LONGEST = 16 << 20  # bytes of an event


class EventCutter:
    """Bytes as they arrive in, whole events out; what is left of a last, unfinished event waits for its rest. Raises
    EngineBadResponse for an event without an end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The events that are now complete, each ending in an empty line; b"" when there is none yet."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if data.endswith(b"\n\n"):
            return data
        end = data.rfind(b"\n\n") + 2
        self._rest = data[end:] if end > 1 else data
        if len(self._rest) > _LONGEST:
            raise EngineBadResponse("The model's engine sent an event without end.")
        return data[:end] if end > 1 else b""

    @property
    def unfinished(self) -> bool:
        return bool(self._rest.strip())


def plain(events: bytes) -> bool:
    """Whether all these events are ordinary chunks that may pass unparsed.

    A quote inside a JSON string is escaped, so none of the marks can be met within generated text.
    """
    if b'"usage":' in events or b'"timings":' in events or b'"error"' in events or b"[DONE]" in events:
        return False
    if not events.count(b"\n\n") == events.count(b"data: {") == events.count(b"}\n\n"):
        return False
    return events.isascii() or _is_text(events)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def payloads(events: bytes) -> Iterator[bytes]:
    """What stands behind each event's name: `{…}` of a data or error event, `[DONE]`; comments (pings) are left out."""
    for event in events.split(b"\n\n"):
        line = event.strip()
        if line and not line.startswith(b":"):
            _, _, payload = line.partition(b":")
            yield payload.strip()


def encode(value: Mapping[str, Any]) -> bytes:
    """One data event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n\n"
