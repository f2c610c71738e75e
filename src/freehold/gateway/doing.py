"""What workers are at that takes long, for who looks: how far each file is that is being transcribed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from freehold.errors import FreeholdError
from freehold.fleet.client import EngineClient
from freehold.gateway.services import Services

_WITHIN = 1.0  # seconds; a worker that has no time to tell is passed over
_MOST = 16  # files of a worker
_LONGEST = 10_000_000.0  # seconds of audio


async def files_heard(services: Services) -> dict[str, list[dict[str, float | None]]]:
    """By model, for each file: `heard_s`, the seconds that have been heard, and `claimed_s`, those that the file says it has;
    None where it does not, or has more."""
    clients = services.supervisor.clients("transcription")
    found = await asyncio.gather(*map(_told, clients.values()))
    return dict(zip(clients, found, strict=True))


async def _told(client: EngineClient) -> list[dict[str, float | None]]:
    try:
        answer = await client.get("/progress", _WITHIN)
        return [_file(each) for each in json.loads(answer.body)["files"][:_MOST]] if answer.status == 200 else []
    except (FreeholdError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _file(told: Any) -> dict[str, float | None]:
    """Raises ValueError, TypeError or KeyError for what is none."""
    heard, claimed = float(told["heard_s"]), told["claimed_s"]
    whole = float(claimed) if claimed is not None and heard <= float(claimed) <= _LONGEST else None
    return {"heard_s": round(heard, 1), "claimed_s": None if whole is None else round(whole, 1)}
