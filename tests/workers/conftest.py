"""What tests of workers share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, unix_connect


@pytest.fixture
async def client(socket: Path) -> AsyncIterator[ClientConnection]:
    """Somebody who speaks to the worker at the module's `socket`."""
    async with unix_connect(str(socket), "ws://worker/v1/realtime?intent=transcription") as connection:
        yield connection
