"""The client's end of a stream: whatever is sent, a client that does not take it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message

from freehold.fleet.patience import Patience
from freehold.gateway.http import ClientGone
from freehold.gateway.stream import Outgoing


@pytest.mark.parametrize("last", [lambda out: out.write(b"x"), lambda out: out.close()])
async def test_every_way_of_sending_is_bounded(last: Callable[[Outgoing], Awaitable[None]]) -> None:
    blocked = False

    async def send(message: Message) -> None:
        if blocked:
            await asyncio.Event().wait()

    with pytest.raises(ClientGone):
        async with asyncio.timeout(10):
            with Patience(0.05, ClientGone) as patience:
                out = Outgoing(send, {}, patience)
                await out.write(b"data: {}\n\n")
                blocked = True
                await last(out)
