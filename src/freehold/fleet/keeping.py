"""The KV cache of long prompts over an eviction: written to files when a model leaves, read back when it comes again.

llama.cpp saves and restores the state of a slot (POST /slots/{id}?action=save|restore). Measured with the starter
model, that is some hundred times faster than to read the prompt anew (benchmarks/README.md). A file holds a prompt: it is its
user's alone, is used once, and is gone when the server is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from freehold.errors import FreeholdError
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import Deployment, Launch
from freehold.hardware.plan import Plan
from freehold.telemetry import log

LEAST_TOKENS = 512  # a shorter prompt is soon read anew
_WITHIN = 5.0  # seconds that saving, or restoring, may hold up the models that wait


@dataclass(frozen=True)
class _File:
    slot: int
    path: Path
    size: int


@dataclass(frozen=True)
class _Kept:
    """What one worker left. It is read back only by a worker of the same deployment that is told the very same."""

    deployment: Deployment
    argv: tuple[str, ...]
    files: tuple[_File, ...]


class Keeper:
    """Files in `folder`, `most` bytes in all; 0 keeps none. What goes wrong here costs the reading of a prompt, no more."""

    def __init__(self, folder: Path, most: int):
        self._folder = folder
        self._most = most
        self._kept: dict[str, _Kept] = {}  # the oldest first
        self._numbers = count()
        self._strays: list[Path] = []

    def folder(self, deployment: Deployment) -> Path | None:
        """Where a worker of that deployment may write, or None. What a draft model or a projector has read is in no slot."""
        whole = deployment.draft is None and deployment.projector is None
        if not self._most or deployment.engine != "llama.cpp" or deployment.task != "chat" or not whole:
            return None
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            return None
        return self._folder

    def limit(self, most: int) -> None:
        """Another number of bytes in all."""
        self._most = most
        self._make_room(0)

    async def save(self, client: EngineClient, deployment: Deployment, launched: Launch, plan: Plan) -> None:
        """Keeps the long prompts of a worker that is about to end, the longest first, in place of older ones of others."""
        self.drop(deployment.name)
        if self.folder(deployment) is None:
            return
        files: list[_File] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN):
                for slot, tokens in await _long_slots(client):
                    held = sum(file.size for file in files)
                    if self._make_room(held + tokens * _bytes_a_token(plan)):
                        files += await self._save(client, slot)
        if files:
            self._kept[deployment.name] = _Kept(deployment, launched.argv, tuple(files))
            self._make_room(0)
            log("prompts kept", model=deployment.name, slots=len(files), bytes=sum(file.size for file in files))

    async def restore(self, client: EngineClient, deployment: Deployment, launched: Launch) -> None:
        """Gives a worker that has just started what its predecessor left; the files are gone afterwards, whatever happens."""
        kept = self._kept.pop(deployment.name, None)
        if kept is None:
            return
        try:
            if (kept.deployment, kept.argv) == (deployment, launched.argv):
                async with asyncio.timeout(_WITHIN):
                    for file in kept.files:
                        await _act(client, file.slot, "restore", file.path.name)
        except TimeoutError:
            pass
        finally:
            _remove(kept)

    def drop(self, model: str) -> None:
        """Forgets what is kept of a model."""
        kept = self._kept.pop(model, None)
        if kept is not None:
            _remove(kept)

    def tidy(self) -> None:
        """Once a worker has ended: what it wrote after nobody waited for it any more goes, too."""
        while self._strays:
            _unlink(self._strays.pop())

    def _make_room(self, wanted: int) -> bool:
        """Whether there is room for that many bytes more, once older files have made room."""
        if wanted > self._most:
            return False
        while self._size() + wanted > self._most:
            self.drop(next(iter(self._kept)))
        return True

    def _size(self) -> int:
        return sum(file.size for kept in self._kept.values() for file in kept.files)

    async def _save(self, client: EngineClient, slot: int) -> list[_File]:
        path = self._folder / f"{next(self._numbers)}.kv"
        size = 0
        try:
            if await _act(client, slot, "save", path.name):
                size = path.stat().st_size
        except OSError:
            pass
        finally:
            if not size:
                self._strays.append(path)
        return [_File(slot, path, size)] if size else []


async def _long_slots(client: EngineClient) -> list[tuple[int, int]]:
    """(slot, tokens) of idle slots with long prompts, the longest first."""
    try:
        answer = await client.get("/slots", within=_WITHIN)
        found = list(_slots(json.loads(answer.body))) if answer.status == 200 else []
    except (FreeholdError, ValueError, TypeError, AttributeError):
        return []
    return sorted(found, key=lambda slot: -slot[1])


def _slots(answer: Any) -> Iterator[tuple[int, int]]:
    for slot in answer:
        tokens = int(slot.get("n_prompt_tokens", 0))
        if tokens >= LEAST_TOKENS and not slot.get("is_processing", True):
            yield int(slot["id"]), tokens


async def _act(client: EngineClient, slot: int, action: str, name: str) -> bool:
    try:
        answer = await client.post(f"/slots/{slot}?action={action}", json.dumps({"filename": name}).encode(), within=_WITHIN)
    except FreeholdError:
        return False
    return answer.status == 200


def _bytes_a_token(plan: Plan) -> int:
    return sum(share.kv for share in plan.memory) // max(plan.slots * plan.context, 1)


def _remove(kept: _Kept) -> None:
    for file in kept.files:
        _unlink(file.path)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
