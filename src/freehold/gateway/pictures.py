"""Pictures that are delivered as addresses: kept for an hour, under names that nobody guesses."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import Unavailable

_LASTS = 3600.0  # seconds
_MOST_BYTES = 1 << 30  # of all; past them the oldest go
_NAME = re.compile(r"[0-9a-f]{32}\.(png|jpeg|webp)")


@dataclass(frozen=True)
class _Kept:
    size: int
    until: float


class Pictures:
    """Files in one folder, which is the server's own and goes with it."""

    def __init__(self, folder: Path, lasts: float = _LASTS):
        self._folder = folder
        self._lasts = lasts
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def put(self, data: bytes, form: str) -> str:
        """The name of a new file. Raises Unavailable when the disk does not take it."""
        name = f"{secrets.token_hex(16)}.{form}"
        try:
            await asyncio.to_thread(self._write, name, data)
        except OSError as error:
            raise Unavailable(
                "The server has no room on its disk for this picture.", retry_after=60.0, code="disk_full"
            ) from error
        self._kept[name] = _Kept(len(data), time.monotonic() + self._lasts)
        self._tidy()
        return name

    def path(self, name: str) -> Path | None:
        """Where a picture is; None for one that is not, or no longer."""
        self._tidy()
        return self._folder / name if _NAME.fullmatch(name) and name in self._kept else None

    def _write(self, name: str, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / name).write_bytes(data)

    def _tidy(self) -> None:
        """They are in the order of their ends."""
        total = sum(kept.size for kept in self._kept.values())
        while self._kept:
            name, oldest = next(iter(self._kept.items()))
            if oldest.until > time.monotonic() and total <= _MOST_BYTES:
                return
            del self._kept[name]
            total -= oldest.size
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
