"""Who may begin a realtime session, with which settings, and how many there are."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from freehold.errors import QueueFull, Unauthenticated
from freehold.protocol.realtime.config import Settings

PREFIX = "ek_"
_MOST = 10_000  # secrets that are kept; with one more, the oldest is worth nothing


@dataclass(frozen=True)
class _Secret:
    settings: Settings | None
    until: float  # of the monotonic clock


class Lobby:
    """Client secrets open the realtime socket and nothing else. They are kept as digests, in memory only."""

    def __init__(self) -> None:
        self.sessions = 0
        self._secrets: OrderedDict[bytes, _Secret] = OrderedDict()

    def issue(self, settings: Settings | None, seconds: int) -> str:
        """A new secret for sessions with these settings, for so many seconds."""
        value = PREFIX + secrets.token_hex(24)
        self._forget()
        self._secrets[_digest(value)] = _Secret(settings, time.monotonic() + seconds)
        return value

    def admit(self, value: str) -> Settings | None:
        """The settings that a secret stands for. Raises Unauthenticated for one that is unknown or has expired."""
        self._forget()
        found = self._secrets.get(_digest(value))
        if found is None:
            raise Unauthenticated(
                "The client secret is unknown or has expired; make a new one: POST /v1/realtime/client_secrets."
            )
        return found.settings

    def forget_all(self) -> None:
        """No secret opens anything any more: the key that they were made with has changed."""
        self._secrets.clear()

    @contextlib.contextmanager
    def place(self, most: int) -> Iterator[None]:
        """Counts a session. Raises QueueFull where there are as many as there may be."""
        if self.sessions >= most:
            raise QueueFull(
                f"There are {most} realtime sessions, as many as the setting `realtime.sessions` allows; try again shortly.",
                retry_after=5.0,
            )
        self.sessions += 1
        try:
            yield
        finally:
            self.sessions -= 1

    def _forget(self) -> None:
        now = time.monotonic()
        for digest in [digest for digest, secret in self._secrets.items() if secret.until <= now]:
            del self._secrets[digest]
        while len(self._secrets) >= _MOST:
            self._secrets.popitem(last=False)


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
