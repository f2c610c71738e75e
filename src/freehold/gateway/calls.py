"""The engine calls of one request: one or many, whole or streamed, in any mixture of both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from freehold.errors import EngineBadResponse, FreeholdError
from freehold.fleet.client import Answer, EngineClient
from freehold.gateway.stream import chunks_of
from freehold.protocol.engine_errors import from_engine
from freehold.settings import TimeoutSettings


def parse_answer(answer: Answer, param: str) -> dict[str, Any]:
    """A whole answer as JSON. Raises what an error status means, EngineBadResponse for what is not a JSON object."""
    if answer.status != 200:
        raise from_engine(answer.status, answer.body, param=param)
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise EngineBadResponse("The model's worker sent something that is not JSON.")
    return value


async def call_all(
    client: EngineClient, path: str, bodies: tuple[bytes, ...], concurrency: int, param: str, within: float
) -> list[dict[str, Any]]:
    """Whole answers to all bodies, in their order, at most `concurrency` under way. The first failure ends the others."""
    if len(bodies) == 1:
        return [parse_answer(await client.post(path, bodies[0], within), param)]
    gate = asyncio.Semaphore(concurrency)

    async def one(body: bytes) -> dict[str, Any]:
        async with gate:
            return parse_answer(await client.post(path, body, within), param)

    async with _first_error(), asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(body)) for body in bodies]
    return [task.result() for task in tasks]


async def stream_all(
    client: EngineClient, path: str, bodies: tuple[bytes, ...], concurrency: int, param: str, timeouts: TimeoutSettings
) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """(call, chunk) pairs of all calls as they come. Close it (`aclosing`) to end the calls that still run."""
    if len(bodies) == 1:
        async for chunk in stream_one(client, path, bodies[0], param, timeouts):
            yield 0, chunk
        return
    gate = asyncio.Semaphore(concurrency)
    # Bounded, so that a slow client slows the engine down instead of filling memory.
    arrived: asyncio.Queue[tuple[int, dict[str, Any]] | FreeholdError | None] = asyncio.Queue(maxsize=64)

    async def one(call: int, body: bytes) -> None:
        async with gate:
            try:
                async for chunk in stream_one(client, path, body, param, timeouts):
                    await arrived.put((call, chunk))
            except FreeholdError as error:
                await arrived.put(error)
            else:
                await arrived.put(None)

    tasks = [asyncio.create_task(one(call, body)) for call, body in enumerate(bodies)]
    left = len(tasks)
    try:
        while left:
            item = await arrived.get()
            if isinstance(item, FreeholdError):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stream_one(
    client: EngineClient, path: str, body: bytes, param: str, timeouts: TimeoutSettings
) -> AsyncIterator[dict[str, Any]]:
    """One call's chunks, parsed."""
    async with client.stream(path, body, timeouts.first_token, timeouts.idle) as stream:
        if stream.status != 200:
            raise from_engine(stream.status, await stream.read(), param=param)
        async for chunk in chunks_of(stream.chunks()):
            yield chunk


class _first_error:  # noqa: N801  (reads as a block)
    """Lets the first of a task group's errors through as itself."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BaseExceptionGroup):
            raise error.exceptions[0] from None
